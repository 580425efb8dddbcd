"""The words of the private server: its configuration and its complaints."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from shards.private_redis.binary import Version
from shards.private_redis.conf import config_text, quoted
from shards.private_redis.errors import unusable


def test_a_value_is_quoted_as_redis_reads_it() -> None:
    assert quoted(os.fsdecode(b'/a b/"c"\\\xc3\xbc\xff\n')) == '"/a b/\\x22c\\x22\\x5c\\xc3\\xbc\\xff\\x0a"'


@pytest.mark.parametrize(("version", "has_locale"), [((7, 0), False), ((7, 2), True), ((8, 0), True)])
def test_an_option_is_written_only_for_versions_that_know_it(
    version: tuple[int, int], has_locale: bool
) -> None:
    text = config_text(Path("/d"), Path("/d/s"), "always", Version("redis", *version, 0))
    assert ("locale-collate C" in text.splitlines()) is has_locale
    assert "appendfsync always" in text.splitlines()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space left for the data directory /d; free some, or pass another --data-dir"),
        (errno.EACCES, "may not write to /d; give it to this user"),
        (errno.EROFS, "the file system of /d is read-only; pass another --data-dir"),
        (errno.EIO, "cannot use the data directory /d (Input/output error); pass another --data-dir"),
    ],
)
def test_a_complaint_of_the_system_says_what_to_do(number: int, says: str) -> None:
    assert str(unusable(Path("/d"), OSError(number, os.strerror(number)))).startswith(says)
