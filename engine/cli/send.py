"""``clarion send``: one push through the HTTP API, as a tenant would send it."""

import json
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from http.client import HTTPException
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from engine.cli.errors import CommandError
from runtime.options import OptionError

ANSWER_S: Final = 15.0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PushParams:
    """The push, with the API's own words; what is left out is left out there too."""

    device_token: str
    "The device, in hex, as the app got it from iOS."

    topic: str
    "The app's bundle id."

    alert: str | None = None
    'Text to show: short for a payload of {"aps":{"alert": TEXT}}.'

    payload: str | None = None
    "The whole payload, as a JSON object."

    lane: Literal["high", "low"] | None = None
    "high (the API's default) or low, for campaigns."

    push_type: str | None = None
    "Apple's push type; without it, alert."

    priority: int | None = None
    "10, 5 or 1."

    expiration: int | None = None
    "Until when APNs may keep it, in Unix seconds; 0 for one attempt."

    collapse_id: str | None = None
    "Pushes with the same one replace each other on the device."

    environment: Literal["production", "sandbox"] | None = None
    "Where the device's token comes from; without it, production."

    def notification(self) -> dict[str, Any]:
        """As the API takes it. Raises CommandError."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        alert, payload = given.pop("alert", None), given.pop("payload", None)
        if (alert is None) == (payload is None):
            raise CommandError("give either --alert or --payload")
        try:
            given["payload"] = {"aps": {"alert": alert}} if payload is None else json.loads(payload)
        except ValueError as error:
            raise CommandError(f"--payload is not JSON: {error}") from error
        return given


def send(*, api_key: str, push: PushParams, url: str = "http://127.0.0.1:8080") -> int:
    """Send one push, and print its id. Accepted means that Redis has it, not yet that APNs does.

    For example:

        clarion send --api-key clarion_… --topic com.acme.app --device-token 00fc13ad… --alert "Hello"
        clarion send --topic com.acme.app --device-token 00fc13ad… --push-type background \\
            --payload '{"aps":{"content-available":1}}'

    Parameters
    ----------
    api_key
        The tenant's API key, as 'clarion tenant create' showed it.
    url
        Where the gateway listens.
    """
    if not _is_plain(api_key):
        # it may be a key in part, so it is not repeated
        raise OptionError("api-key", "is no API key; write it as 'clarion tenant create' showed it")
    if not _is_address(url):
        raise OptionError("url", f"is {url!r}; write it as http://127.0.0.1:8080")
    body = json.dumps(push.notification()).encode()
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/v1/push", body, headers)
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            print(json.load(answer)["id"])
    except urllib.error.HTTPError as error:
        raise CommandError(_in_words(error)) from error
    except (OSError, HTTPException, ValueError) as error:
        # what is no gateway may be quoted with its line end
        said = " ".join(str(getattr(error, "reason", error)).split())
        raise CommandError(f"{url} can't be reached: {said}; is 'clarion run' up?") from error
    return 0


def _is_plain(word: str) -> bool:
    """Whether a word can stand in the line of a header or of a request."""
    return word.isascii() and word.isprintable() and bool(word) and " " not in word


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # a port that is none shows when it is read
        return (
            _is_plain(url) and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        return False


def _in_words(error: urllib.error.HTTPError) -> str:
    """A problem document as a line for a person."""
    try:
        problem = json.load(error)
        details = [each["detail"] for each in problem.get("errors", ())] or [problem["detail"]]
        return f"refused ({error.code} {problem['title']}): {' '.join(details)}"
    except (ValueError, KeyError, TypeError):
        return f"refused: HTTP {error.code}"
