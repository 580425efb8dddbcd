"""What the tests of the store share: tests may be coroutines, and each finds an empty Redis."""

import asyncio
import inspect
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis as redis_py
from redis_server import RedisServer

TEST_WITHIN_S = 60.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function on a loop of its own, which must end soon."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        async with asyncio.timeout(TEST_WITHIN_S):
            await pyfuncitem.obj(**arguments)

    asyncio.run(run())
    return True


@contextmanager
def _running() -> Iterator[RedisServer]:
    # not tmp_path: the name of a unix socket is short by law (108 bytes), and pytest's folders are not
    directory = Path(tempfile.mkdtemp(prefix="clarion-test-"))
    server = RedisServer(directory, append_only=False)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A running redis-server that no other test uses."""
    with _running() as server:
        yield server


@pytest.fixture
def next_master() -> Iterator[RedisServer]:
    """Another one, as ``own_server`` is."""
    with _running() as server:
        yield server


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis_py.Redis]:
    """A plain client, to look at what is stored."""
    with redis_py.Redis.from_url(redis_url) as client:
        yield client
