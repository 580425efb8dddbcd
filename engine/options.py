"""Options of the sending side, with their defaults, units and limits."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from engine.apns.endpoint import endpoint
from engine.link.contexts import tls_context
from engine.policy.links import LinkOptions
from engine.policy.retry import RetryOptions
from runtime.options import OptionError
from shards.queue import LEASE_MOST_S, LEASE_S

PRODUCTION_URL = "https://api.push.apple.com"
SANDBOX_URL = "https://api.sandbox.push.apple.com"


@dataclass(frozen=True)
class EngineOptions:
    """What one worker needs to know.

    ``in_hand_most`` bounds the jobs that a worker holds claimed, and so what repeats after a kill -9; ``in_hand_least``
    is what it takes however slowly they are answered, while there are enough. ``round_most`` is what a round of claims
    brings, which is handed over in one go: more is cheaper, and whoever is not among it waits for as long, so it is
    ``round_quick`` while flows come that would wait. ``claim_least`` and ``claim_most`` bound one claim, and
    ``turn_least`` what a flow gives in its turn. While the high lane has more to give, ``low_share`` of each claim is
    kept for the low lane.
    """

    redis_url: str = ""
    apns_production_url: str = PRODUCTION_URL
    apns_sandbox_url: str = SANDBOX_URL
    apns_ca_file: Path | None = None
    in_hand_most: int = 16_384
    in_hand_least: int = 1_024
    claim_most: int = 512
    round_most: int = 1_024
    round_quick: int = 256
    claim_least: int = 128
    turn_least: int = 16
    low_share: float = 0.1
    drain_s: float = 20.0
    lease_s: float = LEASE_S
    dead_kept_s: float = 14 * 86_400.0
    retry: RetryOptions = field(default_factory=RetryOptions)
    links: LinkOptions = field(default_factory=LinkOptions)

    def validate(self) -> None:
        """Raises OptionError."""
        for name in ("apns_production_url", "apns_sandbox_url"):
            try:
                endpoint(getattr(self, name))
            except ValueError as error:
                raise OptionError(name, f"can't be used: {error}") from None
        if self.apns_ca_file is not None and not self.apns_ca_file.is_file():
            raise OptionError(
                "apns_ca_file", f"is {self.apns_ca_file}, and there is no such file; write a PEM file"
            )
        try:
            tls_context(self.apns_ca_file)
        except OSError as error:
            why = "no certificate is in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise OptionError(
                "apns_ca_file", f"is {self.apns_ca_file}, and {why}; write a PEM file of certificates"
            ) from None
        if not 1 <= self.links.most <= 1_000:
            raise OptionError("links_max", f"is {self.links.most}; write a number from 1 to 1000")
        if not 1 <= self.links.pools_most <= 100_000:
            raise OptionError("pools_max", f"is {self.links.pools_most}; write a number from 1 to 100000")
        if not 64 <= self.in_hand_most <= 100_000:
            raise OptionError("in_hand_most", f"is {self.in_hand_most}; write a number from 64 to 100000")
        if not 64 <= self.in_hand_least <= self.in_hand_most:
            raise OptionError(
                "in_hand_least",
                f"is {self.in_hand_least}; write a number from 64 to --in-hand-most, {self.in_hand_most}",
            )
        if not 1 <= self.lease_s <= LEASE_MOST_S:
            raise OptionError(
                "lease_s", f"is {self.lease_s:g}; write a number of seconds from 1 to {LEASE_MOST_S:g}"
            )
        if not 0 < self.retry.first_s <= self.retry.most_s:
            raise OptionError(
                "retry_first_s",
                f"is {self.retry.first_s:g} and --retry-most-s {self.retry.most_s:g}; "
                "write seconds above 0, the first no more than the most",
            )
        if self.retry.most_s > 86_400:
            raise OptionError(
                "retry_most_s", f"is {self.retry.most_s:g}; write a number of seconds up to 86400"
            )
        if not 1 <= self.retry.attempts_most <= 100:
            raise OptionError(
                "retry_attempts", f"is {self.retry.attempts_most}; write a number from 1 to 100"
            )
        if not 0 <= self.drain_s <= 3_600:
            raise OptionError("drain_s", f"is {self.drain_s:g}; write a number of seconds from 0 to 3600")
