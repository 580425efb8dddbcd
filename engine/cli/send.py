"""``clarion send``: one push through the HTTP API, as a tenant would send it."""

import json
import urllib.error
import urllib.request
from typing import Literal

from engine.cli.errors import CommandError


def send(
    *,
    api_key: str,
    device_token: str,
    topic: str,
    alert: str | None = None,
    payload: str | None = None,
    lane: Literal["high", "low"] | None = None,
    push_type: str | None = None,
    priority: int | None = None,
    expiration: int | None = None,
    collapse_id: str | None = None,
    environment: Literal["production", "sandbox"] | None = None,
    url: str = "http://127.0.0.1:8080",
) -> int:
    """Send one push, and print its id. Accepted means that Redis has it, not yet that APNs does.

    For example:

        clarion send --api-key clarion_… --topic com.acme.app --device-token 00fc13ad… --alert "Hello"
        clarion send --topic com.acme.app --device-token 00fc13ad… --push-type background \\
            --payload '{"aps":{"content-available":1}}'

    Parameters
    ----------
    api_key
        The tenant's API key, as 'clarion tenant create' showed it.
    device_token
        The device, in hex, as the app got it from iOS.
    topic
        The app's bundle id.
    alert
        Text to show: short for a payload of {"aps":{"alert": TEXT}}.
    payload
        The whole payload, as a JSON object.
    lane
        high (the API's default) or low, for campaigns.
    push_type
        Apple's push type; without it, alert.
    priority
        10, 5 or 1.
    expiration
        Until when APNs may keep it, in Unix seconds; 0 for one attempt.
    collapse_id
        Pushes with the same one replace each other on the device.
    environment
        Where the device's token comes from; without it, production.
    url
        Where the gateway listens.
    """
    if (alert is None) == (payload is None):
        raise CommandError("give either --alert or --payload")
    try:
        content = {"aps": {"alert": alert}} if payload is None else json.loads(payload)
    except ValueError as error:
        raise CommandError(f"--payload is not JSON: {error}") from error
    notification = {
        "device_token": device_token,
        "topic": topic,
        "payload": content,
        "lane": lane,
        "push_type": push_type,
        "priority": priority,
        "expiration": expiration,
        "collapse_id": collapse_id,
        "environment": environment,
    }
    body = json.dumps({name: value for name, value in notification.items() if value is not None})
    request = urllib.request.Request(
        f"{url.rstrip('/')}/v1/push",
        data=body.encode(),
        headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            print(json.load(answer)["id"])
    except urllib.error.HTTPError as error:
        raise CommandError(_in_words(error)) from error
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        raise CommandError(
            f"{url} can't be reached: {getattr(error, 'reason', error)}; is 'clarion run' up?"
        ) from error
    return 0


def _in_words(error: urllib.error.HTTPError) -> str:
    """A problem document as a line for a person."""
    try:
        problem = json.load(error)
        details = [each["detail"] for each in problem.get("errors", ())] or [problem["detail"]]
        return f"refused ({error.code} {problem['title']}): {' '.join(details)}"
    except (ValueError, KeyError, TypeError):
        return f"refused: HTTP {error.code}"
