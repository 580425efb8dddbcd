"""What of a person's own words may come back in an error.

A key's text or an API key that was pasted into the wrong field would come back, and from there get into logs. Pure.
"""

import re
from typing import Final

QUOTED_MOST: Final = 100
# what key files and API keys are made of, in runs that no name of ours is likely to have
_SECRET_LIKE: Final = re.compile(r"[A-Za-z0-9+/_=-]{28,}|-----|clarion[-_][0-9a-z]{3,8}_")


def looks_secret(text: str) -> bool:
    """Whether it may be a key, or a part of one."""
    return _SECRET_LIKE.search(text) is not None


def quoted(text: str) -> str:
    """The text between quotes, if it can be shown, and else that it is not."""
    if len(text) > QUOTED_MOST or not text.isprintable() or looks_secret(text):
        return f"(not shown, {len(text)} characters)"
    return repr(text)
