"""Where APNs is: the addresses of its hosts, as a person writes them. Pure."""

from typing import NamedTuple
from urllib.parse import urlsplit

from shards.environment import Environment


class Endpoint(NamedTuple):
    """Where APNs is. ``authority`` is what ``:authority`` says: the port is left out when it is 443."""

    host: str
    port: int
    authority: bytes


def endpoints(production_url: str, sandbox_url: str) -> dict[str, Endpoint]:
    """Where APNs is, by environment. Raises ValueError for an URL that is none."""
    urls = {Environment.PRODUCTION: production_url, Environment.SANDBOX: sandbox_url}
    return {name.value: endpoint(url) for name, url in urls.items()}


def endpoint(url: str) -> Endpoint:
    """Read ``https://host[:port]``. Raises ValueError with what to write instead."""
    parts = urlsplit(url)
    try:
        port = parts.port or 443
    except ValueError:
        port = 0
    if (
        parts.scheme != "https"
        or not parts.hostname
        or not port
        or parts.path not in ("", "/")
        or parts.query
    ):
        raise ValueError(f"{url!r} is not an APNs address; write it as https://api.push.apple.com")
    host = parts.hostname
    name = f"[{host}]" if ":" in host else host
    return Endpoint(host, port, (name if port == 443 else f"{name}:{port}").encode())
