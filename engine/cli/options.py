"""Options as the command line, the environment and clarion.toml spell them.

A flag wins over its ``CLARION_*`` variable, and that over the key of the same name in ``clarion.toml``. The
dataclasses here only carry what was given; meaning, limits and messages are with the owners of each option.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Group, Parameter
from platformdirs import user_data_path

from engine.options import PRODUCTION_URL, SANDBOX_URL, EngineOptions
from engine.policy.links import LinkOptions
from engine.policy.retry import RetryOptions
from ingest.options import IngestOptions
from shards.private_conf import Fsync
from shards.vault import decode_master_key, read_master_key

_STORE: Final = Group("Store")
_APNS: Final = Group("APNs")
_PROCESSES: Final = Group("Processes")
_HTTP: Final = Group("HTTP")

DATA_DIR: Final = user_data_path("clarion")
MASTER_KEY_VARIABLE: Final = "CLARION_MASTER_KEY"


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
    first start). The variable CLARION_MASTER_KEY may hold the key itself."""

    def master_key(self, *, create: bool) -> bytes:
        """Raises VaultError."""
        given = os.environ.get(MASTER_KEY_VARIABLE)
        if given:
            return decode_master_key(given.encode(), f"${MASTER_KEY_VARIABLE}")
        return read_master_key(self.master_key_file or self.data_dir / "master.key", create=create)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EngineParams:
    """How pushes are sent."""

    apns_production_url: Annotated[str, Parameter(group=_APNS)] = PRODUCTION_URL
    "APNs for pushes to the production environment."

    apns_sandbox_url: Annotated[str, Parameter(group=_APNS)] = SANDBOX_URL
    "APNs for pushes to the sandbox environment."

    apns_ca_file: Annotated[Path | None, Parameter(group=_APNS)] = None
    "PEM file of the authorities to trust instead of the system's (for a simulator)."

    links_max: Annotated[int, Parameter(group=_APNS)] = LinkOptions().most
    "Connections to APNs for one credential, in one worker, at most."

    retry_first_s: Annotated[float, Parameter(group=_APNS)] = RetryOptions().first_s
    "Bound of the delay, in seconds, before a push that failed for the moment is tried again; it doubles each time."

    retry_most_s: Annotated[float, Parameter(group=_APNS)] = RetryOptions().most_s
    "Where that bound stops doubling. Apple advises 15 minutes after answers of 5xx."

    retry_attempts: Annotated[int, Parameter(group=_APNS)] = RetryOptions().attempts_most
    "How often a push is tried, at most, before it is given up."

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
            drain_s=self.drain_s,
            lease_s=self.lease_s,
            retry=RetryOptions(
                first_s=self.retry_first_s, most_s=self.retry_most_s, attempts_most=self.retry_attempts
            ),
            links=LinkOptions(most=self.links_max),
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

    def options(self, redis_url: str) -> IngestOptions:
        host, _, port = self.bind.rpartition(":")
        options = IngestOptions(
            redis_url=redis_url,
            bind_host=host.strip("[]"),
            bind_port=int(port) if port.isdecimal() else -1,
        )
        options.validate()
        return options
