"""A real redis-server for the tests that need one: started once a session, empty for each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer

LONGEST_VALUE_IN_A_NAME = 80


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test's name shows text that can be read; of anything else in bytes it shows the argument's name alone.

    Processes that share the tests compare the names, and packed bytes hold the second at which they were packed.
    """
    if not isinstance(val, bytes | str):
        return None
    text = val.decode("latin-1") if isinstance(val, bytes) else val
    return None if text.isascii() and text.isprintable() and len(text) <= LONGEST_VALUE_IN_A_NAME else argname


@pytest.fixture(scope="session")
def _redis_process() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="clarion-test-") as directory:
        server = RedisServer(Path(directory))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def redis_server(_redis_process: RedisServer) -> RedisServer:
    """The session's server, up and empty, for tests that break it; whatever they do, the next test gets it whole."""
    if not _redis_process.alive:
        _redis_process.start()
    assert _redis_process.command("FLUSHALL") == b"+OK\r\n"
    return _redis_process


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis."""
    return redis_server.url
