"""Options as the command line, the environment and clarion.toml spell them.

A flag wins over its ``CLARION_*`` variable, and that over the key of the same name in ``clarion.toml``. The
dataclasses here only carry what was given; meaning, limits and messages are with the owners of each option.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Group, Parameter
from platformdirs import user_data_path

from engine.admin.options import DEFAULT_BIND, AdminOptions
from engine.admin.token import AdminToken, checked, read_admin_token
from engine.options import PRODUCTION_URL, SANDBOX_URL, EngineOptions
from engine.policy.links import LinkOptions
from engine.policy.retry import RetryOptions
from ingest.options import IngestOptions
from runtime.listening import Bind
from shards.private_redis.conf import Fsync
from shards.redis import check_url
from shards.vault import MasterKey, decode_master_key, read_master_key

_STORE: Final = Group("Store")
_APNS: Final = Group("APNs")
_PROCESSES: Final = Group("Processes")
_HTTP: Final = Group("HTTP")

_INGEST: Final = IngestOptions(redis_url="")

METRICS_BIND: Final = "127.0.0.1:9464"
# the sending side may run on the same machine
INGEST_METRICS_BIND: Final = "127.0.0.1:9465"
DATA_DIR: Final = user_data_path("clarion")
MASTER_KEY_VARIABLE: Final = "CLARION_MASTER_KEY"
ADMIN_TOKEN_VARIABLE: Final = "CLARION_ADMIN_TOKEN"


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StoreParams:
    """Where jobs and tenants are kept."""

    redis_url: Annotated[str | None, Parameter(group=_STORE)] = None
    "redis://, rediss:// or unix:// URL. Without one, Clarion runs a private redis-server in the data directory."

    redis_fsync: Annotated[Fsync, Parameter(group=_STORE)] = "everysec"
    "When the private redis-server flushes to disk: always loses nothing in a crash, everysec costs less."

    data_dir: Annotated[Path, Parameter(group=_STORE)] = DATA_DIR
    "Directory of the master key and of the private redis-server."

    master_key_file: Annotated[Path | None, Parameter(group=_STORE)] = None
    """File of the key that tenants' .p8 keys are encrypted with (default: master.key in the data directory, made at
    first start). The variable CLARION_MASTER_KEY may hold the key itself, or several with commas between them: the
    first encrypts, all decrypt."""

    def url(self) -> str | None:
        """Of Redis, if one was given. Raises OptionError."""
        if self.redis_url is not None:
            check_url(self.redis_url)
        return self.redis_url

    def master_key(self, *, create: bool) -> MasterKey:
        """Raises VaultError."""
        given = os.environ.get(MASTER_KEY_VARIABLE)
        if given:
            return decode_master_key(given.replace(",", "\n").encode(), f"${MASTER_KEY_VARIABLE}")
        return read_master_key(self.master_key_file or self.data_dir / "master.key", create=create)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ApnsParams:
    """Where APNs is."""

    apns_production_url: Annotated[str, Parameter(group=_APNS)] = PRODUCTION_URL
    "APNs for pushes to the production environment."

    apns_sandbox_url: Annotated[str, Parameter(group=_APNS)] = SANDBOX_URL
    "APNs for pushes to the sandbox environment."

    apns_ca_file: Annotated[Path | None, Parameter(group=_APNS)] = None
    "PEM file of the authorities to trust instead of the system's (for a simulator)."

    def validate(self) -> None:
        """Raises OptionError."""
        EngineOptions(
            apns_production_url=self.apns_production_url,
            apns_sandbox_url=self.apns_sandbox_url,
            apns_ca_file=self.apns_ca_file,
        ).validate()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EngineParams(ApnsParams):
    """How pushes are sent."""

    links_max: Annotated[int, Parameter(group=_APNS)] = LinkOptions().most
    "Connections to APNs for one credential, in one worker, at most."

    pools_max: Annotated[int, Parameter(group=_APNS)] = LinkOptions().pools_most
    "Credentials that one worker keeps connections for, at most; the least recently used are closed."

    retry_first_s: Annotated[float, Parameter(group=_APNS)] = RetryOptions().first_s
    "Bound of the delay, in seconds, before a push that failed for the moment is tried again; it doubles each time."

    retry_most_s: Annotated[float, Parameter(group=_APNS)] = RetryOptions().most_s
    "Where that bound stops doubling. Apple advises 15 minutes after answers of 5xx."

    retry_attempts: Annotated[int, Parameter(group=_APNS)] = RetryOptions().attempts_most
    "How often a push is tried, at most, before it is given up."

    in_hand_most: Annotated[int, Parameter(group=_APNS)] = EngineOptions().in_hand_most
    "Pushes that one worker holds, claimed and without an answer, at most: what may be sent twice after a kill -9."

    in_hand_least: Annotated[int, Parameter(group=_APNS)] = EngineOptions().in_hand_least
    "What it takes in hand even while others wait: fewer shorten their wait beside a backlog, more drain it faster."

    workers: Annotated[int, Parameter(group=_PROCESSES)] = cpus()
    "Sending processes; default: one for each CPU."

    drain_s: Annotated[float, Parameter(group=_PROCESSES)] = EngineOptions().drain_s
    "Seconds that pushes under way may take after SIGTERM, before they are given back to the queue."

    lease_s: Annotated[float, Parameter(group=_PROCESSES)] = EngineOptions().lease_s
    "Seconds after which the shards of a worker that says nothing more go to others."

    def options(self, redis_url: str) -> EngineOptions:
        options = EngineOptions(
            redis_url=redis_url,
            apns_production_url=self.apns_production_url,
            apns_sandbox_url=self.apns_sandbox_url,
            apns_ca_file=self.apns_ca_file,
            in_hand_most=self.in_hand_most,
            in_hand_least=self.in_hand_least,
            drain_s=self.drain_s,
            lease_s=self.lease_s,
            retry=RetryOptions(
                first_s=self.retry_first_s, most_s=self.retry_most_s, attempts_most=self.retry_attempts
            ),
            links=LinkOptions(most=self.links_max, pools_most=self.pools_max),
        )
        options.validate()
        return options


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class IngestParams:
    """How pushes are taken in."""

    bind: Annotated[str, Parameter(group=_HTTP)] = "127.0.0.1:8080"
    "HOST:PORT to listen on for the API; 0.0.0.0:8080 for all addresses."

    ingest_processes: Annotated[int, Parameter(group=_PROCESSES)] = 1
    "Processes that serve the API on that port."

    queue_most_tenant: Annotated[int, Parameter(group=_HTTP)] = _INGEST.queue_most_tenant
    "Pushes of one tenant that may stand ready, unless it has a bound of its own; more are answered 429."

    queue_most_shard: Annotated[int, Parameter(group=_HTTP)] = _INGEST.queue_most_shard
    "Pushes that one shard may hold, ready and waiting; more are answered 503."

    body_s: Annotated[float, Parameter(group=_HTTP)] = _INGEST.body_s
    "Seconds that a request's body may take to arrive."

    answer_s: Annotated[float, Parameter(group=_HTTP)] = _INGEST.answer_s
    "Seconds that a client may take to read an answer, before it is cut off."

    def options(self, redis_url: str) -> IngestOptions:
        host, _, port = self.bind.rpartition(":")
        options = IngestOptions(
            redis_url=redis_url,
            bind_host=host.strip("[]"),
            bind_port=int(port) if port.isdecimal() else -1,
            queue_most_tenant=self.queue_most_tenant,
            queue_most_shard=self.queue_most_shard,
            body_s=self.body_s,
            answer_s=self.answer_s,
        )
        options.validate()
        return options


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MetricsParams:
    """Where the processes are watched."""

    metrics_bind: Annotated[str, Parameter(group=_HTTP)] = METRICS_BIND
    "HOST:PORT to listen on for Prometheus, at /metrics; an empty word for none."

    def bound(self) -> Bind:
        """Raises OptionError."""
        return Bind.of(self.metrics_bind, "metrics-bind", METRICS_BIND)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class IngestMetricsParams(MetricsParams):
    """Where the processes of the API are watched, when they run by themselves."""

    metrics_bind: Annotated[str, Parameter(group=_HTTP)] = INGEST_METRICS_BIND
    "HOST:PORT to listen on for Prometheus, at /metrics; an empty word for none."


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AdminParams:
    """Who may change tenants over HTTP, and where."""

    admin_bind: Annotated[str, Parameter(group=_HTTP)] = DEFAULT_BIND
    "HOST:PORT to listen on for the admin API; an empty word for none."

    admin_token_file: Annotated[Path | None, Parameter(group=_HTTP)] = None
    """File of the token that opens the admin API (default: admin.token in the data directory, made at first start).
    The variable CLARION_ADMIN_TOKEN may hold the token itself."""

    def options(self, redis_url: str, apns: ApnsParams) -> AdminOptions:
        """Raises OptionError."""
        apns.validate()
        return replace(
            AdminOptions.of(redis_url, self.admin_bind),
            apns_production_url=apns.apns_production_url,
            apns_sandbox_url=apns.apns_sandbox_url,
            apns_ca_file=apns.apns_ca_file,
        )

    def token(self, store: StoreParams) -> AdminToken:
        """Raises OptionError."""
        given = os.environ.get(ADMIN_TOKEN_VARIABLE)
        if given:
            return checked(given, f"${ADMIN_TOKEN_VARIABLE}", ADMIN_TOKEN_VARIABLE)
        if self.admin_token_file is not None:
            return read_admin_token(self.admin_token_file, create=False)
        return read_admin_token(store.data_dir / "admin.token", create=True)
