"""What tells a process that serves to stop: SIGTERM, SIGINT, or the end of its supervisor. And how its tasks end.

A signal and the end of the lifeline only set an event; what they mean is done in one place.
"""

import asyncio
import signal
from collections.abc import Collection
from typing import Any, Final

CANCEL_AGAIN_S: Final = 0.05


def stop_event(lifeline: int | None) -> asyncio.Event:
    """An event of the running loop that is set by a signal, or by the end of file on ``lifeline``."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def ended(fd: int) -> None:
        # it never carries a byte, so whatever makes it readable is its end
        loop.remove_reader(fd)
        stop.set()

    if lifeline is not None:
        loop.add_reader(lifeline, ended, lifeline)
    return stop


async def wait(event: asyncio.Event, most_s: float) -> None:
    """Until it is set, or for so long."""
    try:
        async with asyncio.timeout(most_s):
            await event.wait()
    except TimeoutError:
        pass


async def end(tasks: Collection["asyncio.Task[Any]"]) -> None:
    """Cancel tasks until they have ended: redis-py loses a cancellation now and then while it subscribes."""
    left: Collection[asyncio.Task[Any]] = tasks
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
