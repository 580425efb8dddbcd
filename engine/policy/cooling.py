"""Devices that APNs has had too much for, and until when they are left alone. Pure.

429 TooManyRequests is about one device in one topic. Until the push that was refused is tried again, others for the
same device would only be refused as well, and each would lose an attempt; so they wait. Nobody else does.
"""

from collections.abc import Iterable
from typing import Final

from engine.apns.headers import Held

DEVICES_MOST: Final = 10_000


class Cooling:
    """Up to so many devices by topic and token; beyond that the one that was added first is let go. Unix ms."""

    def __init__(self, most: int = DEVICES_MOST) -> None:
        self._most = most
        self._until: dict[tuple[str, bytes], int] = {}
        # when the last of them has cooled down, so that nobody is looked up any more
        self._latest_ms = 0

    def __repr__(self) -> str:
        return f"<Cooling {len(self._until)} devices>"

    def __bool__(self) -> bool:
        return bool(self._until)

    def add(self, topic: str, device_token: bytes, until_ms: int) -> None:
        """The device is left alone until then, or as long as was said before if that is longer."""
        device = (topic, device_token)
        until_ms = max(until_ms, self._until.pop(device, 0))
        if len(self._until) >= self._most:
            del self._until[next(iter(self._until))]
        self._until[device] = until_ms
        self._latest_ms = max(self._latest_ms, until_ms)

    def sift(self, held: Iterable[Held], now_ms: int) -> tuple[list[Held], list[tuple[Held, float]]]:
        """Jobs that may be sent, and those that are put off, each with seconds."""
        if now_ms >= self._latest_ms:
            self._until.clear()
            return list(held), []
        send, put_off = [], []
        for entry in held:
            device = (entry[0].topic, entry[0].device_token)
            until_ms = self._until.get(device, 0)
            if until_ms > now_ms:
                put_off.append((entry, (until_ms - now_ms) / 1000))
                continue
            if until_ms:
                del self._until[device]
            send.append(entry)
        return send, put_off
