"""When a job is tried again, and when no more. Pure: time and chance are arguments."""

from typing import NamedTuple

from engine.policy.backoff import backoff_s


class RetryOptions(NamedTuple):
    """``first_s`` bounds the first delay, which doubles with each attempt up to ``most_s``.

    Apple advises 15 minutes before an answer of 5xx is tried again: that is the bound, reached by doubling, so that
    a moment's trouble costs moments; who wants the advice to the letter says 900 for both. A device that APNs had
    too much for has a schedule of its own, ``device_…``: it is one device's matter of seconds.
    """

    first_s: float = 1.0
    most_s: float = 900.0
    attempts_most: int = 12
    device_first_s: float = 5.0
    device_most_s: float = 300.0


class WaitUntil(NamedTuple):
    """Try again at ``due_ms`` (Unix ms)."""

    due_ms: int


class GiveUp(NamedTuple):
    """No more attempts; ``reason`` says why, in the words of a dead letter."""

    reason: str


def retry(
    attempts: int,
    expiration: int,
    reason: str,
    now_ms: int,
    chance: float,
    options: RetryOptions,
    *,
    device: bool = False,
) -> WaitUntil | GiveUp:
    """What to do after the attempt number ``attempts`` (1 is the first) failed for ``reason``.

    ``expiration`` is apns-expiration in Unix seconds: 0 means one attempt only, by Apple's words, but that attempt
    has to reach APNs, so it bounds nothing here; -1 means none was given. A retry that could only come after the
    expiration is not made. ``device``: APNs refused it on account of its device alone.
    """
    if attempts >= options.attempts_most:
        return GiveUp(f"Exhausted: {reason}")
    first_s, most_s = options.first_s, options.most_s
    if device:
        first_s, most_s = options.device_first_s, options.device_most_s
    due_ms = now_ms + int(1000 * backoff_s(attempts - 1, first_s, most_s, chance))
    if 0 < expiration * 1000 <= due_ms:
        return GiveUp(f"Expired: {reason}")
    return WaitUntil(due_ms)
