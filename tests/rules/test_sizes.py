"""Files stay small and are named after what they hold."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("engine", "ingest", "runtime", "shards", "loadtest", "tuning", "tests", "scripts")

MOST_LINES = 400
# Names that say nothing of what is inside, and so attract everything.
SAYS_NOTHING = {"util", "utils", "helper", "helpers", "common", "misc", "base", "manager", "managers"}
# aiohttp's word for what answers a request, and used for nothing else.
HANDLERS_ONLY_IN = "ingest"


def too_long(source: str) -> bool:
    return len(source.splitlines()) > MOST_LINES


def badly_named(path: PurePath) -> bool:
    """Looks at each word of the file's name and of its folders'; `path` is relative to the root."""
    words = {word for part in path.with_suffix("").parts for word in part.split("_")}
    handles = bool(words & {"handler", "handlers"}) and path.parts[0] != HANDLERS_ONLY_IN
    return bool(words & SAYS_NOTHING) or handles


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_file_is_too_long() -> None:
    assert len(sources()) > 20
    long = [str(path.relative_to(ROOT)) for path in sources() if too_long(path.read_text())]
    assert long == []


def test_no_file_is_named_for_nothing() -> None:
    assert [str(path) for path in sources() if badly_named(path.relative_to(ROOT))] == []


@pytest.mark.parametrize(("lines", "refused"), [(400, False), (401, True)])
def test_a_long_file_is_found(lines: int, refused: bool) -> None:
    assert too_long("pass\n" * lines) is refused


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("engine/utils.py", True),
        ("shards/redis_helpers.py", True),
        ("engine/common/frames.py", True),
        ("engine/link/manager.py", True),
        ("engine/link/handler.py", True),
        ("tests/pure/base.py", True),
        ("ingest/handlers.py", False),
        ("engine/baseline.py", False),
        ("shards/commons_of_words.py", False),
        ("engine/link/pool.py", False),
    ],
)
def test_a_name_that_says_nothing_is_found(path: str, refused: bool) -> None:
    assert badly_named(PurePath(path)) is refused
