"""Open one link: resolve, connect, TLS, SETTINGS, each with a deadline.

The name is resolved anew before each dial, and the caller picks one of its addresses: Apple asks for uncached
look-ups, and its addresses are the only way to spread links over its servers.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from engine.apns.endpoint import Endpoint
from engine.link.errors import DialError
from engine.link.link import Link

# a peer that does not answer the end of TLS is dropped after this, not after asyncio's 30 seconds
TLS_CLOSE_S: Final = 1.0
# alerts about the certificate that we show, as OpenSSL spells them (RFC 8446, 6.2), and Apple's word for what they mean
_OF_CERTIFICATES: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
_BAD_CERTIFICATE: Final = "BadCertificate"


LinkT = TypeVar("LinkT", bound=Link)


async def dial(
    at: Endpoint,
    context: ssl.SSLContext,
    make_link: Callable[[], LinkT],
    pick: Callable[[Sequence[str]], int],
    deadline_s: float,
) -> LinkT:
    """A usable link: its SETTINGS have come. ``pick`` says which of the addresses to take. Raises DialError."""
    phase, address = "resolve", ""
    link: LinkT | None = None
    opened = False
    try:
        async with asyncio.timeout(deadline_s):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(at.host, at.port, type=socket.SOCK_STREAM)
            addresses = [str(entry[4][0]) for entry in found]
            place = pick(addresses)
            family, address = found[place][0], addresses[place]
            phase = "connect"
            transport, link = await loop.create_connection(
                make_link,
                address,
                at.port,
                family=family,
                ssl=context,
                server_hostname=at.host,
                ssl_shutdown_timeout=TLS_CLOSE_S,
            )
            phase = "tls"
            tls = transport.get_extra_info("ssl_object")
            if tls.selected_alpn_protocol() != "h2":
                raise DialError(phase, f"{at.host}:{at.port} does not speak HTTP/2 (no ALPN h2)")
            phase = "settings"
            await asyncio.shield(link.ready)
            if not link.usable:
                # GOAWAY or the end right behind SETTINGS is how a wrong configuration is told
                message = f"{at.host}:{at.port} ended the connection at once {link.farewell}".rstrip()
                raise DialError(phase, message, ended=True, reason=link.reason)
            opened = True
            link.address = address
            return link
    except DialError as error:
        error.address = address
        raise
    except ssl.SSLError as error:
        alert = error.reason or ""
        message = f"TLS with {at.host}:{at.port} failed: {alert or error}"
        ended = "ALERT" in alert or isinstance(error, ssl.SSLEOFError)
        reason = _BAD_CERTIFICATE if ended and any(word in alert for word in _OF_CERTIFICATES) else ""
        raise DialError("tls", message, address, ended=ended, reason=reason) from error
    except TimeoutError as error:
        message = f"{at.host}:{at.port} did not answer within {deadline_s:g} s ({phase})"
        raise DialError(phase, message, address) from error
    except (OSError, UnicodeError) as error:
        # the latter for a name that can't be written in DNS
        message = f"{at.host}:{at.port} can't be reached ({phase}): {error}"
        ended = isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError)
        raise DialError(phase, message, address, ended=ended) from error
    finally:
        # also after a cancellation that came in the same step as the SETTINGS: nobody else knows the link
        if link is not None and not opened:
            link.ready.cancel()
            link.abort()
