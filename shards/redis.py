"""The edge to Redis: connect, run batches of calls, translate errors. No other module imports ``redis``' errors.

Two ways in:

- ``connect(url)``: a plain redis-py client for the rare calls (tenants, layout, ready checks);
- ``ScriptConnection``: one dedicated connection that runs batches of script calls, for the hot path. It is a
  redis-py connection packed by hiredis (redis-py's asyncio connection packs in Python, 0.6 µs an argument, and a
  batch has a thousand), and it never repeats a call by itself: redis-py's client retries by default, which would
  enqueue twice when only the answer was lost.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib import resources
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import hiredis
from redis.asyncio import Connection, Redis, UnixDomainSocketConnection
from redis.asyncio.connection import BlockingConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from runtime.options import OptionError
from shards.errors import StoreError, StoreRefused, StoreUnavailable

ANSWER_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 2.0
# how long a listener takes silence for silence; then it asks
SILENT_MOST_S: Final = 5.0
# of a client for rare calls
CONNECTIONS_MOST: Final = 8
_SCHEMES: Final = ("redis", "rediss", "unix")
# of one that is no master any more: its address may lead to another by now, but not a connection that goes on
_DEMOTED: Final = (ReadOnlyError, MasterDownError)


class Script(NamedTuple):
    """One Lua script: the verb it is named for, its text, and the SHA-1 that Redis knows it by."""

    verb: str
    text: bytes
    sha1: str


class Call(NamedTuple):
    """One call of a script. Arguments are bytes, str or int, as hiredis packs them."""

    script: Script
    keys: tuple[str, ...]
    args: Sequence[bytes | str | int]


@cache
def script(verb: str) -> Script:
    """The script ``lua/<verb>.lua``."""
    text = resources.files("shards").joinpath("lua", f"{verb}.lua").read_bytes()
    return Script(verb, text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


def check_url(url: str) -> None:
    """Raises OptionError for an URL that can't be used, before anybody connects; it repeats nothing of a password."""
    if url.partition("://")[0] not in _SCHEMES:
        raise OptionError(
            "redis_url",
            "begins with none of redis://, rediss://, unix://; write one such as redis://127.0.0.1:6379/0",
        )
    try:
        ScriptConnection(url)
        parts = urlsplit(url)
        database = "" if parts.scheme == "unix" else parts.path.strip("/")
        if database and not database.isdecimal():
            # redis-py takes it for database 0, which may be another's
            raise ValueError("no number of a database")
    except (TypeError, ValueError):
        raise OptionError(
            "redis_url",
            "can't be read; write one such as redis://user:password@127.0.0.1:6379/0, where 0 is a database, with %2F "
            "for a / in the password",
        ) from None


def connect(url: str) -> "Redis":
    """A client for rare calls; connects on first use. Raises ValueError for an URL that redis-py can't read.

    Its connections are few: after a change or a loss everybody asks at once, and each would have one of its own.
    """
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MOST,
        timeout=ANSWER_TIMEOUT_S,
        retry=_no_retry(),
        # repeated it is not, by that, but the connection is closed
        retry_on_error=list(_DEMOTED),
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        protocol=2,
    )
    client: Redis = Redis.from_pool(pool)
    return client


@contextmanager
def store_errors(*, in_doubt: bool = True) -> Iterator[None]:
    """Translate redis-py's exceptions to ours. ``in_doubt``: whether a lost answer may hide an effect."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError, TimeoutError, OSError) as error:
        # some answers are connection errors to redis-py, and on a unix socket it wraps them in another one
        for said in (error, error.__cause__):
            if isinstance(said, AuthenticationError):
                raise StoreRefused(f"Redis refused the login: {said}") from error
            if isinstance(said, BusyLoadingError):
                raise StoreRefused(f"Redis refused: {said}") from error
        # a deadline that passes says nothing by itself
        why = str(error) or "no answer in time"
        raise StoreUnavailable(f"Redis is not reachable: {why}", in_doubt=in_doubt) from error
    except ResponseError as error:
        raise StoreRefused(f"Redis refused: {error}") from error
    except RedisError as error:
        raise StoreError(f"Redis: {error}") from error


class _HiredisPacked:
    """Packs commands with hiredis, in C."""

    def pack_commands(self, commands: Any) -> list[bytes]:
        return [b"".join(map(hiredis.pack_command, commands))]


class _Tcp(_HiredisPacked, Connection):
    pass


class _Tls(_HiredisPacked, SSLConnection):
    pass


class _Unix(_HiredisPacked, UnixDomainSocketConnection):
    pass


_PACKED: Final = {Connection: _Tcp, SSLConnection: _Tls, UnixDomainSocketConnection: _Unix}


class ScriptConnection:
    """One connection that runs batches of script calls, one batch at a time, in order.

    ``run`` writes all calls at once and reads their answers, so a batch costs one round trip. After a fault, and when
    it leads to no master any more, the connection is closed, and the next ``run`` opens it anew.
    """

    def __init__(self, url: str, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        options: dict[str, Any] = dict(parse_url(url))
        kind = options.pop("connection_class", Connection)
        # whatever the URL says of these: one deadline stands for a whole batch, and answers are read as RESP2
        options |= {
            "retry": _no_retry(),
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_read_size": 1 << 18,
            "protocol": 2,
        }
        self._connection: Connection = _PACKED[kind](**options)
        self._answer_timeout_s = answer_timeout_s
        self._turn = asyncio.Lock()
        # SHA-1 of the scripts that were loaded since it was opened
        self._loaded: set[str] = set()

    def __repr__(self) -> str:
        return f"<ScriptConnection {'open' if self._connection.is_connected else 'closed'}>"

    async def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls; returns an answer for each, in order: what the script returned, or a StoreRefused.

        Raises StoreUnavailable when the answers did not come; ``in_doubt`` tells whether the calls may have run.
        Raises StoreRefused when Redis refuses the login.
        A script that Redis does not know (somebody flushed them) certainly did not run: it is loaded and called again.
        """
        if not calls:
            return []
        async with self._turn:
            await self._open()
            # Before their first calls, and not only when Redis says that it does not know them: another client may load
            # one between two calls of a batch, and the second would then run before the first.
            new = {call.script.sha1: call.script for call in calls if call.script.sha1 not in self._loaded}
            commands = [
                ("EVALSHA", call.script.sha1, len(call.keys), *call.keys, *call.args) for call in calls
            ]
            answers = (await self._exchange([*_loading(new.values()), *commands]))[len(new) :]
            self._loaded.update(new)
            unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                await self._exchange(_loading({calls[at].script for at in unknown}))
                for at, answer in zip(
                    unknown, await self._exchange([commands[at] for at in unknown]), strict=True
                ):
                    answers[at] = answer
            if any(isinstance(answer, _DEMOTED) for answer in answers):
                await self._connection.disconnect(nowait=True)
        return [
            StoreRefused(f"Redis refused: {answer}") if isinstance(answer, RedisError) else answer
            for answer in answers
        ]

    async def _open(self) -> None:
        if self._connection.is_connected and await self._has_ended():
            # found before anything is written, so it leaves nobody in doubt
            await self._connection.disconnect(nowait=True)
        if not self._connection.is_connected:
            self._loaded.clear()
            opened = False
            try:
                with store_errors(in_doubt=False):
                    async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                        await self._connection.connect()  # type: ignore[no-untyped-call]
                opened = True
            finally:
                if not opened:
                    # after a cancellation half a greeting may have been answered
                    await self._connection.disconnect(nowait=True)

    async def _has_ended(self) -> bool:
        """Whether Redis closed the connection while it was idle. Nothing else can be there to read between batches."""
        try:
            return await self._connection.can_read()
        except RedisConnectionError:
            return True

    async def _exchange(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        connection = self._connection
        answers: list[Any] = []
        answered = False
        try:
            with store_errors(in_doubt=True):
                async with asyncio.timeout(self._answer_timeout_s):
                    await connection.send_packed_command(
                        connection.pack_commands(commands), check_health=False
                    )
                    for _ in commands:
                        try:
                            answers.append(await connection.read_response(disconnect_on_error=False))
                        except (ResponseError, BusyLoadingError) as error:
                            if "unauthenticated" in str(error):
                                # what a server says to a long command before the login, instead of NOAUTH
                                raise AuthenticationError(str(error)) from error
                            answers.append(error)
            answered = True
        finally:
            if not answered:
                # also after a cancellation: answers still under way would be taken for those of the next batch
                await connection.disconnect(nowait=True)
        return answers

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)


def _loading(scripts: Iterable[Script]) -> list[tuple[Any, ...]]:
    return [("SCRIPT", "LOAD", each.text) for each in scripts]


@asynccontextmanager
async def listening(url: str, channels: Sequence[str]) -> AsyncIterator[AsyncIterator[tuple[str, str]]]:
    """Subscribe, and yield an iterator of (channel, message) as they arrive.

    The subscription stands before this yields, so whatever is published afterwards is seen. Raises
    StoreUnavailable when the connection is lost, also one that nobody has ended: a network that drops packets, or a
    proxy that lost its other side, would never tell, and a listener writes nothing that could go unanswered.
    """
    client: Redis = Redis.from_url(
        url, retry=_no_retry(), socket_connect_timeout=CONNECT_TIMEOUT_S, protocol=2
    )
    async with client, client.pubsub() as pubsub:
        with store_errors(in_doubt=False):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await pubsub.subscribe(*channels)
                for _ in channels:
                    await pubsub.parse_response(block=True)
        # outside of the translation: a timeout of the caller's own is not Redis' fault
        yield _messages(pubsub)


async def _messages(pubsub: Any) -> AsyncIterator[tuple[str, str]]:
    asked = False
    while True:
        with store_errors(in_doubt=False):
            answer = await pubsub.parse_response(
                block=False, timeout=ANSWER_TIMEOUT_S if asked else SILENT_MOST_S
            )
            if answer is None:
                if asked:
                    raise RedisTimeoutError("it does not answer a listener")
                await pubsub.ping()
            asked = answer is None
        if answer is not None and answer[0] == b"message":
            _, channel, message = answer
            yield channel.decode(), message.decode()
