"""The queues when Redis is down, dies, is slow, is full or knows nothing: what is said, and what is stored."""

import asyncio

import pytest
import redis as redis_py
from fake_redis import HANG_UP, SILENCE, fake_redis
from redis_server import RedisServer
from words import all_jobs, jobs, opened, take

from shards import redis as redis_module
from shards.claim import Reclaimed, Retry, Settlement
from shards.errors import StoreRefused, StoreUnavailable
from shards.keys import shard_keys
from shards.lanes import Lane
from shards.queue import Batch
from shards.redis import Call, ScriptConnection, connect, listening, script, store_errors

KEYS = shard_keys(7)
PONG = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"


def batch(name: str, count: int = 1) -> Batch:
    return Batch(7, Lane.HIGH, name, jobs(name, count))


def acquiring(shard: int) -> list[Call]:
    keys = shard_keys(shard)
    return [Call(script("acquire"), (keys.fence, keys.lease), ("worker", 60_000, "ab", 60_000))]


async def test_scripts_that_redis_has_forgotten_are_loaded_again(redis_url: str, raw: redis_py.Redis) -> None:
    async with opened(redis_url) as queue:
        for round_ in range(2):
            raw.script_flush()
            if round_:
                # one of the two scripts of the next call is known, the other is not
                raw.script_load(script("enqueue").text)
            assert await queue.enqueue([batch("a", 3), batch("b", 3)]) == [None, None]
            [holding] = await queue.acquire([7])
            claimed = await take(queue, holding, 1)
            assert all_jobs(claimed) == jobs("a", 3) + jobs("b", 3)


async def test_calls_keep_their_order_while_another_client_loads_their_script() -> None:
    known, ran = False, []

    def answer(words: list[bytes]) -> bytes:
        nonlocal known
        if words[0] == b"SCRIPT":
            known = True
            return b"+OK\r\n"
        if known:
            ran.append(int(words[-1]))
            return b":1\r\n"
        # what the other client loads comes right behind this call
        known = True
        return b"-NOSCRIPT No matching script\r\n"

    async with fake_redis(answer, polite=(b"CLIENT",)) as url:
        connection = ScriptConnection(url)
        assert await connection.run([Call(script("renew"), ("k",), (n,)) for n in range(3)]) == [1, 1, 1]
        await connection.close()
    assert ran == [0, 1, 2]


async def test_a_redis_that_is_down_certainly_did_nothing(own_server: RedisServer) -> None:
    own_server.kill9()
    async with opened(own_server.url) as queue:
        with pytest.raises(StoreUnavailable, match="not reachable") as failure:
            await queue.enqueue([batch("a")])
        assert failure.value.in_doubt is False
        own_server.start()
        assert await queue.enqueue([batch("a")]) == [None]


async def test_a_redis_that_dies_in_mid_call_may_have_acted() -> None:
    async with fake_redis(lambda words: HANG_UP) as url, opened(url) as queue:
        with pytest.raises(StoreUnavailable) as failure:
            await queue.enqueue([batch("a")])
        assert failure.value.in_doubt is True


async def test_a_redis_that_dies_between_two_answers_leaves_the_whole_call_in_doubt() -> None:
    answers = iter([b":1\r\n", HANG_UP])
    async with fake_redis(lambda words: next(answers)) as url, opened(url) as queue:
        with pytest.raises(StoreUnavailable) as failure:
            await queue.enqueue([batch("a"), batch("b")])
        assert failure.value.in_doubt is True


async def test_an_answer_that_is_too_late_leaves_the_call_in_doubt() -> None:
    async with fake_redis(lambda words: SILENCE) as url:
        connection = ScriptConnection(url, answer_timeout_s=0.05)
        with pytest.raises(StoreUnavailable, match="Redis is not reachable: no answer in time") as failure:
            await connection.run(acquiring(1))
        assert failure.value.in_doubt is True
        assert repr(connection) == "<ScriptConnection closed>"


async def test_a_redis_that_is_loading_refuses() -> None:
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    async with fake_redis(lambda words: loading) as url, opened(url) as queue:
        answers = await queue.enqueue([batch("a"), batch("b")])
        assert [type(answer) for answer in answers] == [StoreRefused, StoreRefused]


@pytest.mark.parametrize("login", ["", ":wrong@"])
async def test_a_password_that_is_missing_or_wrong_is_a_refusal(own_server: RedisServer, login: str) -> None:
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("requirepass", "secret")
    async with opened(f"unix://{login}{own_server.socket}") as queue:
        with pytest.raises(StoreRefused, match="login"):
            await queue.enqueue([batch("a")])
    async with opened(f"unix://:secret@{own_server.socket}") as queue:
        assert await queue.enqueue([batch("a")]) == [None]


@pytest.mark.parametrize("moment", ["greeting", "call"])
async def test_a_cancelled_call_does_not_leave_its_answer_to_the_next(
    redis_url: str, raw: redis_py.Redis, moment: str
) -> None:
    connection = ScriptConnection(redis_url)
    raw.set(shard_keys(1).fence, 100)
    raw.set(shard_keys(2).fence, 200)
    if moment == "call":
        await connection.run(acquiring(3))
    raw.client_pause(150)
    cancelled = asyncio.create_task(connection.run(acquiring(1)))
    await asyncio.sleep(0.05)
    assert not cancelled.done()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await connection.run(acquiring(2)) == [[1, b"201.ab"]]
    assert await connection.run(acquiring(2)) == [[1, b"202.ab"]]
    await connection.close()


async def test_calls_of_several_tasks_take_turns_and_get_their_own_answers(redis_url: str) -> None:
    connection = ScriptConnection(redis_url)
    answers = await asyncio.gather(*(connection.run(acquiring(1) + acquiring(2)) for _ in range(20)))
    fences = [[1, f"{turn}.ab".encode()] for turn in range(1, 21)]
    assert answers == [[fence, fence] for fence in fences]
    await connection.close()


async def test_timeouts_in_the_url_do_not_stand_in_the_way(own_server: RedisServer) -> None:
    url = f"{own_server.url}?socket_timeout=0.0001&socket_connect_timeout=9&protocol=3"
    async with opened(url) as queue:
        assert await queue.enqueue([batch("a", 1_000)]) == [None]


async def test_a_batch_that_redis_cannot_take_is_refused_alone(redis_url: str, raw: redis_py.Redis) -> None:
    raw.set(KEYS.ready(Lane.HIGH, "b"), "not a list")
    async with opened(redis_url) as queue:
        first, second, third = await queue.enqueue([batch("a"), batch("b"), batch("c")])
    assert isinstance(second, StoreRefused)
    assert (first, third) == (None, None)
    assert raw.lrange(KEYS.high, 0, -1) == [b"a", b"c"]


async def test_a_full_redis_refuses_a_batch_whole(own_server: RedisServer) -> None:
    with redis_py.Redis.from_url(own_server.url) as client:
        async with opened(own_server.url) as queue:
            client.config_set("maxmemory", 1)
            [answer] = await queue.enqueue([batch("a", 9_000)])
            assert isinstance(answer, StoreRefused)
            assert "maxmemory" in str(answer)
            assert client.keys() == []
            client.config_set("maxmemory", 0)
            assert await queue.enqueue([batch("a", 9_000)]) == [None]


async def test_a_full_redis_can_still_be_emptied(own_server: RedisServer) -> None:
    with redis_py.Redis.from_url(own_server.url) as client:
        async with opened(own_server.url) as queue:
            [earlier] = await queue.acquire([7])
            await queue.enqueue([batch("a", 10)])
            await take(queue, earlier, 1, most=5)
            client.config_set("maxmemory", 1)
            [holding] = await queue.acquire([7])
            assert await queue.reclaim(holding) == Reclaimed(5)
            claimed = await take(queue, holding, 1)
            retries = [Retry(1, "high", "a", job) for job in all_jobs(claimed)]
            assert await queue.settle([Settlement(holding, claimed.claim_id, retries)]) == [holding]
            assert await queue.promote([7], 1) == [(10, -1)]
            assert sorted(all_jobs(await take(queue, holding, 2))) == jobs("a", 10)


async def test_a_listener_learns_that_its_connection_is_lost(own_server: RedisServer) -> None:
    with pytest.raises(StoreUnavailable):
        async with listening(own_server.url, ["channel"]) as messages:
            own_server.kill9()
            await anext(messages)


async def test_a_listeners_own_timeout_is_not_taken_for_a_fault_of_redis(redis_url: str) -> None:
    with pytest.raises(TimeoutError):
        async with listening(redis_url, ["channel"]) as messages:
            await asyncio.wait_for(anext(messages), 0.02)


@pytest.mark.parametrize("answers", [0, 1, 2])
async def test_a_listener_learns_that_nobody_is_at_the_other_end(
    answers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "SILENT_MOST_S", 0.05)
    monkeypatch.setattr(redis_module, "ANSWER_TIMEOUT_S", 0.5)
    said = iter([b"*3\r\n$9\r\nsubscribe\r\n$7\r\nchannel\r\n:1\r\n", PONG][:answers])
    asked: list[bytes] = []

    def answer(words: list[bytes]) -> bytes:
        asked.append(words[0])
        return next(said, SILENCE)

    async with fake_redis(answer) as url:
        with pytest.raises(StoreUnavailable):
            async with listening(url, ["channel"]) as messages:
                await anext(messages)
    assert asked == [b"SUBSCRIBE", b"PING", b"PING"][: answers + 1]


async def test_a_listener_bears_silence(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_module, "SILENT_MOST_S", 0.02)
    async with listening(redis_url, ["channel"]) as messages, connect(redis_url) as client:
        for word in ("one", "two"):
            heard = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(0.2)
            await client.publish("channel", word)
            assert await heard == ("channel", word)


async def test_a_rare_call_to_a_loading_redis_is_refused_too() -> None:
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    async with fake_redis(lambda words: loading) as url, connect(url) as client:
        with pytest.raises(StoreRefused, match="loading"), store_errors():
            await client.get("key")


async def test_after_a_failover_the_address_is_asked_where_the_master_is(
    own_server: RedisServer, next_master: RedisServer
) -> None:
    async with opened(own_server.url) as queue, connect(own_server.url) as client:
        assert await queue.enqueue([batch("a")]) == [None]
        await client.set("key", "value")
        assert own_server.command("REPLICAOF 127.0.0.1 1") == b"+OK\r\n"
        [refused] = await queue.enqueue([batch("a")])
        assert isinstance(refused, StoreRefused) and "read only replica" in str(refused)
        with pytest.raises(StoreRefused), store_errors():
            await client.set("key", "value")
        # the old one goes on, and so would connections to it, while its address leads to another
        next_master.socket.replace(own_server.socket)
        assert await queue.enqueue([batch("a")]) == [None]
        await client.set("key", "value")


async def test_a_redis_that_was_restarted_while_nothing_was_under_way_leaves_nobody_in_doubt(
    own_server: RedisServer,
) -> None:
    async with opened(own_server.url) as queue:
        assert await queue.enqueue([batch("one")]) == [None]
        own_server.kill9()
        own_server.start()
        await asyncio.sleep(0.05)
        assert await queue.enqueue([batch("two")]) == [None]
