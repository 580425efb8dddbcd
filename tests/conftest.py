"""A real redis-server for the tests that need one: started once a session, empty for each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer


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
