"""What the processes say on stderr, and how often."""

import logging
import sys
from typing import Final

AGAIN_AFTER_S: Final = 60.0
# of what was said lately; beyond it all may be said again
REMEMBERED_MOST: Final = 1_000


class Seldom(logging.Filter):
    """Lets the same line of a logger through once a minute, with how often it was held back.

    While Redis or APNs is away the parts of a process meet the same refusal several times a second, each on its own,
    and what differs must not drown in that. Tracebacks always pass.
    """

    def __init__(self) -> None:
        super().__init__()
        # line → when it was said, and how often it was not since
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            return True
        line = record.getMessage()
        key = (record.name, line)
        said_s, held_back = self._said.get(key, (float("-inf"), 0))
        if record.created - said_s < AGAIN_AFTER_S:
            self._said[key] = (said_s, held_back + 1)
            return False
        if len(self._said) >= REMEMBERED_MOST:
            self._said.clear()
        self._said[key] = (record.created, 0)
        if held_back:
            record.msg, record.args = f"{line} ({held_back} times more since this was said)", ()
        return True


def log_to_stderr() -> None:
    """For this process and those that are forked from it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(
            "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s: %(message)s", "%H:%M:%S"
        )
    )
    handler.addFilter(Seldom())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # one line per task of theirs is not worth reading, and theirs may name URLs
    logging.getLogger("asyncio").setLevel(logging.ERROR)
