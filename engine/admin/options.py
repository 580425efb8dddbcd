"""What the admin process may be told, with its defaults, its units and its limits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.options import PRODUCTION_URL, SANDBOX_URL
from runtime.listening import Bind

DEFAULT_BIND: Final = "127.0.0.1:8081"


@dataclass(frozen=True, kw_only=True, slots=True)
class AdminOptions:
    """One admin process.

    bind_host, bind_port    where to listen for HTTP; port 0 takes any free one
    redis_url               where tenants are: redis://, rediss:// or unix://
    backlog                 connections that the kernel keeps for us until we accept them
    body_bytes_most         the longest request body
    body_s                  how long a request body may take to arrive
    grace_s                 how long open requests may take after a stop was asked for
    apns_…                  where APNs is, and whom to trust for it, for the checks of credentials
    """

    redis_url: str
    bind_host: str
    bind_port: int
    backlog: int = 128
    body_bytes_most: int = 512 * 1024
    body_s: float = 10.0
    grace_s: float = 5.0
    apns_production_url: str = PRODUCTION_URL
    apns_sandbox_url: str = SANDBOX_URL
    apns_ca_file: Path | None = None

    @classmethod
    def of(cls, redis_url: str, bind: str) -> "AdminOptions":
        """For HOST:PORT. Raises OptionError."""
        found = Bind.of(bind, "admin-bind", DEFAULT_BIND)
        return cls(redis_url=redis_url, bind_host=found.bind_host, bind_port=found.bind_port)
