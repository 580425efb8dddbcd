"""Scripted faults on the wire: each action of a rule does to a connection what it says."""

import asyncio
import time
import uuid

import pytest
from h2.errors import ErrorCodes
from push_client import PAYLOAD, TOPIC, PushClient, Signer

from loadtest.simulator.registry import Team
from loadtest.simulator.server import Simulator, SimulatorOptions

SIGNER = Signer()


def simulator(**options: object) -> Simulator:
    made = Simulator(SimulatorOptions(**options))  # type: ignore[arg-type]
    made.register(
        Team(
            team_id=SIGNER.team_id,
            key_id=SIGNER.key_id,
            public_key_pem=SIGNER.public_key_pem,
            topics=(TOPIC,),
        )
    )
    return made


async def connect(sim: Simulator) -> PushClient:
    client = await PushClient.connect(sim.port, sim.ca_file)
    client.authorization = SIGNER.bearer(time.time())
    return client


async def warm(sim: Simulator) -> PushClient:
    """A connection that is past its first push, so that many streams are allowed."""
    client = await connect(sim)
    assert (await client.push()).status == 200
    return client


def test_a_scripted_answer_replaces_the_judgement() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            sim.script(
                [
                    {"match": {"token_prefix": "01"}, "then": [{"do": "answer", "reason": "Shutdown"}]},
                    {
                        "match": {"token_prefix": "02"},
                        "then": [{"do": "answer", "reason": "Unregistered", "timestamp_ms": 5}],
                    },
                    {
                        "match": {"token_prefix": "03"},
                        "then": [{"do": "answer", "status": 500, "body": "oops"}],
                    },
                ]
            )
            first, second, third, fourth = [await client.push(token=f"0{n}ab") for n in (1, 2, 3, 4)]
            assert (first.status, first.reason) == (503, "Shutdown")
            assert (second.status, second.body) == (410, b'{"reason":"Unregistered","timestamp":5}')
            assert (third.status, third.body) == (500, b"oops")
            assert fourth.status == 200
            sim.script([])
            assert (await client.push(token="01ab")).status == 200

    asyncio.run(scenario())


def test_an_answer_can_be_split_and_bare_of_its_id() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            split = {"do": "answer", "reason": "BadDeviceToken", "data_frames": 2, "apns_id": "upper"}
            bare = {"do": "answer", "status": 400, "body": "", "apns_id": "absent"}
            sim.script([{"times": 1, "then": [split]}, {"then": [bare]}])
            answer = await client.push(apns_id="6d1c3b52-8a54-4f0c-9a0f-0d3b0c7b8a11")
            assert (answer.reason, answer.data_frames) == ("BadDeviceToken", 2)
            assert answer.headers["apns-id"] == "6D1C3B52-8A54-4F0C-9A0F-0D3B0C7B8A11"
            answer = await client.push()
            assert (answer.status, answer.body, "apns-id" in answer.headers) == (400, b"", False)

    asyncio.run(scenario())


def test_a_share_of_pushes_is_the_same_in_every_run() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(1, 101)]

    async def hit() -> list[int]:
        async with simulator(seed=3) as sim, await warm(sim) as client:
            sim.script([{"match": {"share": 0.3}, "then": [{"do": "answer", "reason": "BadDeviceToken"}]}])
            return [(await client.push(apns_id=one)).status for one in ids]

    statuses = asyncio.run(hit())
    assert asyncio.run(hit()) == statuses
    assert 15 < statuses.count(400) < 45


def test_a_delayed_push_is_in_the_ledger_before_it_is_answered() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            sim.script([{"times": 1, "then": [{"do": "delay", "delay_s": 0.2}]}])
            slow = client.open(apns_id=(slow_id := str(uuid.uuid4())))
            fast = client.open()
            client.flush()
            await client.until(lambda: fast in client.answers)
            assert slow not in client.answers
            assert sim.ledger.accepted(slow_id) == 1
            await client.until(lambda: slow in client.answers)

    asyncio.run(scenario())


def test_a_stream_can_be_reset_with_any_code() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            sim.script([{"then": [{"do": "reset_stream", "code": "INTERNAL_ERROR"}]}])
            stream_id = client.open(apns_id=(lost_id := str(uuid.uuid4())))
            client.flush()
            await client.until(lambda: bool(client.resets))
            assert client.resets == [(stream_id, ErrorCodes.INTERNAL_ERROR)]
            assert sim.ledger.accepted(lost_id) == 0
            assert sim.ledger.summary()["unanswered"] == {"reset_stream": 1}

    asyncio.run(scenario())


@pytest.mark.parametrize("is_judged", [False, True])
def test_silence_holds_a_stream_until_the_client_gives_it_up(is_judged: bool) -> None:
    async def scenario() -> None:
        async with simulator(streams_max=1) as sim, await warm(sim) as client:
            sim.script([{"times": 1, "then": [{"do": "silence", "judged": is_judged}]}])
            silent = client.open(apns_id=(silent_id := str(uuid.uuid4())))
            client.flush()
            second = client.open()
            client.flush()
            await client.until(lambda: bool(client.resets))
            assert client.resets == [(second, ErrorCodes.REFUSED_STREAM)]
            client.h2.reset_stream(silent, ErrorCodes.CANCEL)
            assert (await client.push()).status == 200
            assert silent not in client.answers
            assert sim.ledger.accepted(silent_id) == int(is_judged)

    asyncio.run(scenario())


def test_goaway_disowns_later_streams_and_answers_earlier_ones() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            sim.script([{"match": {"nth": 4}, "then": [{"do": "goaway", "debug": {"reason": "Shutdown"}}]}])
            ids = [str(uuid.uuid4()) for _ in range(6)]
            streams = [client.open(apns_id=one) for one in ids]
            client.flush()
            await client.until(lambda: bool(client.goaways))
            assert client.goaways == [(streams[2], ErrorCodes.NO_ERROR, b'{"reason":"Shutdown"}')]
            assert sorted(client.answers) == [1, *streams[:3]]
            assert [sim.ledger.accepted(one) for one in ids] == [1, 1, 1, 0, 0, 0]

    asyncio.run(scenario())


def test_two_goaways_and_a_later_close() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            wait = {"do": "delay", "delay_s": 0.05}
            lower = {"do": "goaway", "last_stream_offset": -1, "code": "INTERNAL_ERROR"}
            sim.script([{"then": [{"do": "judge"}, {"do": "goaway"}, wait, lower, wait, {"do": "close"}]}])
            stream_id = client.open()
            client.flush()
            await client.until(lambda: client.is_lost)
            assert [goaway[:2] for goaway in client.goaways] == [(stream_id, 0), (stream_id - 2, 2)]
            assert stream_id in client.answers

    asyncio.run(scenario())


@pytest.mark.parametrize("is_abort", [False, True])
def test_a_connection_can_end_with_the_push_accepted_and_unanswered(is_abort: bool) -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            sim.script([{"then": [{"do": "silence", "judged": True}, {"do": "close", "abort": is_abort}]}])
            client.open(apns_id=(doubtful_id := str(uuid.uuid4())))
            client.open(apns_id=(later_id := str(uuid.uuid4())))
            client.flush()
            await client.until(lambda: client.is_lost)
            assert sim.ledger.accepted(doubtful_id) == 1
            assert sim.ledger.attempt_count(later_id) == 0
            assert len(client.answers) == 1

    asyncio.run(scenario())


def test_a_black_hole_neither_reads_nor_answers() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            sim.script([{"then": [{"do": "black_hole"}]}])
            client.open()
            client.flush()
            await asyncio.sleep(0.1)
            client.h2.ping(b"12345678")
            client.flush()
            await asyncio.sleep(0.1)
            assert (len(client.answers), client.is_lost) == (1, False)
            assert sim.ledger.summary()["unanswered"] == {"connection_ended": 1}

    asyncio.run(scenario())


def test_a_falling_limit_refuses_the_excess_twice_over() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            fall = [{"do": "judge"}, {"do": "limit_streams", "streams": 1}]
            rise = [{"do": "delay", "delay_s": 0.1}, {"do": "limit_streams", "streams": 1000}]
            sim.script([{"times": 1, "then": [*fall, *rise]}])
            streams = [client.open() for _ in range(4)]
            client.flush()
            await client.until(lambda: client.limits == [1, 1000, 1, 1000])
            assert sorted(client.answers) == [1, *streams[:2]]
            assert client.resets[0] == (streams[2], ErrorCodes.REFUSED_STREAM)
            assert {stream_id for stream_id, _ in client.resets} == set(streams[2:])

    asyncio.run(scenario())


def test_the_connection_window_can_be_withheld_and_given_back() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            sim.script([{"times": 1, "then": [{"do": "withhold_window", "for_s": 0.3}]}])
            await client.push()
            body = b"x" * 4000
            for _ in range(15):
                client.open(body=body)
            client.flush()
            await client.until(lambda: len(client.answers) == 17)
            assert client.window_updates == []
            await client.until(lambda: bool(client.window_updates))
            assert sum(client.window_updates) == 15 * 4000 + 2 * len(PAYLOAD)
            assert (await client.push(body=body)).status == 200

    asyncio.run(scenario())


def test_rules_at_connect_act_before_any_request() -> None:
    async def scenario() -> None:
        async with simulator() as sim:
            reason = {"do": "goaway", "debug": {"reason": "BadCertificateEnvironment"}}
            sim.script(
                [
                    {"at": "connect", "match": {"connection": 1}, "then": [reason, {"do": "close"}]},
                    {"at": "connect", "times": 1, "then": [{"do": "limit_streams", "streams": 0}]},
                    {"at": "connect", "times": 1, "then": [{"do": "black_hole"}]},
                ]
            )
            async with await connect(sim) as first:
                await first.until(lambda: first.is_lost)
                assert first.goaways == [(0, 0, b'{"reason":"BadCertificateEnvironment"}')]
            async with await connect(sim) as second:
                await second.until(lambda: second.limits[-1:] == [0])
                second.open()
                second.flush()
                await second.until(lambda: bool(second.resets))
            async with await connect(sim) as third:
                await asyncio.sleep(0.1)
                assert (third.limits, third.is_lost) == ([], False)
            async with await warm(sim) as fourth:
                assert fourth.limits == [1, 1000]

    asyncio.run(scenario())


def test_a_connection_answers_after_the_clients_own_goaway() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            assert client._transport is not None
            sim.script([{"then": [{"do": "delay", "delay_s": 0.05}]}])
            stream_id = client.open()
            out = client.h2.data_to_send()
            client._transport.write(out + b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8))
            await client.until(lambda: stream_id in client.answers)
            assert sim.ledger.summary()["protocol_errors"] == {}

    asyncio.run(scenario())
