"""The simulator on the wire, over TLS, with a client on the h2 library: Apple's stateful behaviour."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress

import pytest
import uvloop
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from push_client import PAYLOAD, TOKEN, TOPIC, PushClient, Signer

from loadtest.simulator.registry import Device, Team
from loadtest.simulator.server import Simulator, SimulatorOptions

SIGNER = Signer()
Run = Callable[[Coroutine[None, None, None]], None]


class Clock:
    """Wall time that a test can move."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def simulator(clock: Callable[[], float] = time.time, **options: object) -> Simulator:
    made = Simulator(SimulatorOptions(**options), clock=clock)  # type: ignore[arg-type]
    made.register(team(SIGNER))
    return made


def team(signer: Signer) -> Team:
    return Team(
        team_id=signer.team_id, key_id=signer.key_id, public_key_pem=signer.public_key_pem, topics=(TOPIC,)
    )


async def connect(sim: Simulator, settings: dict[SettingCodes, int] | None = None) -> PushClient:
    client = await PushClient.connect(sim.port, sim.ca_file, settings)
    client.authorization = SIGNER.bearer(time.time())
    return client


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine on each of the two loops."""
    yield asyncio.run if request.param == "asyncio" else uvloop.run


def test_a_good_push_is_accepted_and_in_the_ledger(run: Run) -> None:
    async def scenario() -> None:
        async with simulator() as sim, await connect(sim) as client:
            apns_id = str(uuid.uuid4())
            answer = await client.push(apns_id=apns_id, apns_push_type="alert")
            assert (answer.status, answer.body, answer.ended_on_headers) == (200, b"", True)
            assert answer.headers["apns-id"] == apns_id
            (attempt,) = sim.ledger.attempts(apns_id)
            assert (attempt.connection, attempt.stream_id, attempt.status) == (1, 1, 200)
            assert (attempt.team, attempt.topic) == (SIGNER.team_id, TOPIC)
            assert abs(attempt.at_s - time.time()) < 60
            assert sim.ledger.accepted(apns_id) == 1
            made = await client.push(apns_id=None)
            assert uuid.UUID(made.headers["apns-id"]).version == 4
        assert sim.open_connections == 0
        assert sim.ledger.summary()["accepted"] == 2

    run(scenario())


def test_settings_and_limits_are_apples() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await connect(sim) as client:
            await client.until(lambda: client.limits == [1])
            settings = client.h2.remote_settings
            assert settings.initial_window_size == 65_535
            assert settings.header_table_size == 4096
            assert settings.max_header_list_size == 8000
            assert settings.max_frame_size == 16_384
            assert (await client.push(token="nonsense")).reason == "BadDeviceToken"
            assert client.limits == [1]
            await client.push()
            await client.until(lambda: len(client.limits) == 2)
            assert client.limits == [1, 1000]

    asyncio.run(scenario())


def test_a_second_stream_before_the_first_answer_is_refused() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await connect(sim) as client:
            first, second = client.open(), client.open(apns_id=(refused_id := str(uuid.uuid4())))
            client.flush()
            await client.until(lambda: bool(client.answers and client.resets))
            assert client.answers[first].status == 200
            assert client.resets == [(second, ErrorCodes.REFUSED_STREAM)]
            assert sim.ledger.accepted(refused_id) == 0
            assert sim.ledger.summary()["unanswered"] == {"REFUSED_STREAM": 1}
            assert (await client.push(apns_id=refused_id)).status == 200
            assert sim.ledger.attempt_count(refused_id) == 2

    asyncio.run(scenario())


def test_streams_above_the_limit_can_end_the_connection_instead() -> None:
    async def scenario() -> None:
        async with simulator(excess_streams="goaway") as sim, await connect(sim) as client:
            first = client.open()
            client.open()
            client.flush()
            await client.until(lambda: bool(client.goaways))
            last_stream_id, code, debug = client.goaways[0]
            assert (last_stream_id, code) == (first, ErrorCodes.REFUSED_STREAM)
            assert b"Maximum active streams" in debug
            assert sim.ledger.summary()["accepted"] == 1

    asyncio.run(scenario())


def test_a_thousand_streams_at_once_are_accepted() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await connect(sim) as client:
            await client.push()
            body = b"x" * 60
            for _ in range(1000):
                client.open(body=body)
            client.flush()
            await client.until(lambda: len(client.answers) == 1001)
            assert client.resets == []
            assert sim.ledger.accepted_distinct == 1001
            # The window came back in steps of just over half of 65,535 bytes.
            await client.until(lambda: bool(client.window_updates))
            assert all(32_767 < step < 32_767 + len(body) + 1 for step in client.window_updates)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("reason", "status", "changed"),
    [
        ("MethodNotAllowed", 405, {"method": "GET"}),
        ("BadPath", 404, {"path": "/3/devices/ab"}),
        ("MissingDeviceToken", 400, {"path": "/3/device/"}),
        ("BadDeviceToken", 400, {"token": "xyz"}),
        ("BadDeviceToken", 400, {"token": "bad0"}),
        ("Unregistered", 410, {"token": "dead"}),
        ("BadMessageId", 400, {"apns_id": "1"}),
        ("MissingTopic", 400, {"apns_topic": None}),
        ("TopicDisallowed", 400, {"apns_topic": "com.example.other"}),
        ("BadCollapseId", 400, {"apns_collapse_id": "x" * 65}),
        ("BadPriority", 400, {"apns_priority": "11"}),
        ("BadExpirationDate", 400, {"apns_expiration": "soon"}),
        ("InvalidPushType", 400, {"apns_push_type": "pigeon"}),
        ("MissingProviderToken", 403, {"authorization": None}),
        ("InvalidProviderToken", 403, {"authorization": "bearer a.b.c"}),
        ("PayloadEmpty", 400, {"body": b""}),
        ("PayloadTooLarge", 413, {"body": b"x" * 4097}),
        ("PayloadTooLarge", 413, {"body": b"x" * 16_000}),
    ],
)
def test_bad_input_is_answered_as_apple_answers(reason: str, status: int, changed: dict[str, object]) -> None:
    async def scenario() -> None:
        async with simulator() as sim, await connect(sim) as client:
            sim.tell(Device(token="bad0", fate="bad"))
            sim.tell(Device(token="dead", fate="unregistered", timestamp_ms=1_700_000_000_000))
            answer = await client.push(**changed)
            assert (answer.status, answer.reason) == (status, reason)
            assert "apns-id" in answer.headers
            assert (b"timestamp" in answer.body) == (status == 410)
            assert sim.ledger.summary()["refused"] == {reason: 1}
            assert (await client.push()).status == 200

    asyncio.run(scenario())


def test_a_header_sent_twice_is_refused() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await connect(sim) as client:
            fields = [(":method", "POST"), (":scheme", "https"), (":path", f"/3/device/{TOKEN}")]
            fields += [(":authority", "localhost"), ("authorization", client.authorization or "")]
            fields += [("apns-topic", TOPIC), ("apns-topic", TOPIC)]
            stream_id = client.open_raw(client.h2.get_next_available_stream_id(), fields, PAYLOAD)
            client.flush()
            await client.until(lambda: stream_id in client.answers)
            assert client.answers[stream_id].reason == "DuplicateHeaders"

    asyncio.run(scenario())


def test_a_body_too_long_for_the_window_is_answered_before_its_end() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await connect(sim) as client:
            stream_id = client.open(body=b"x" * 10_000, end=False)
            client.flush()
            await client.until(lambda: stream_id in client.answers)
            assert client.answers[stream_id].status == 413
            assert (await client.push()).status == 200

    asyncio.run(scenario())


def test_two_teams_on_one_connection_are_refused_and_noted() -> None:
    async def scenario() -> None:
        other = Signer("TEAM000002", "KEY0000002")
        async with simulator() as sim, await connect(sim) as client:
            sim.register(team(other))
            assert (await client.push()).status == 200
            answer = await client.push(authorization=other.bearer(time.time()))
            assert (answer.status, answer.reason) == (403, "InvalidProviderToken")
            assert sim.ledger.teams(1) == {SIGNER.team_id, other.team_id}
            async with await connect(sim) as second:
                assert (await second.push(authorization=other.bearer(time.time()))).status == 200
            assert sim.ledger.summary()["connections_opened"] == 2

    asyncio.run(scenario())


def test_an_expired_token_wedges_the_connection_and_lowers_its_limit() -> None:
    async def scenario() -> None:
        clock = Clock()
        async with simulator(clock) as sim, await connect(sim) as client:
            await client.push()
            clock.ahead_s = 3700
            for _ in range(4):
                client.open()
            client.flush()
            await client.until(lambda: len(client.answers) + len(client.resets) >= 5)
            assert [answer.status for answer in client.answers.values()] == [200, 403, 403]
            assert client.answers[3].reason == "ExpiredProviderToken"
            assert [code for _, code in client.resets[:1]] == [ErrorCodes.REFUSED_STREAM]
            assert client.limits == [1, 1000, 1]
            fresh = SIGNER.bearer(clock())
            assert (await client.push(authorization=fresh)).reason == "ExpiredProviderToken"
            async with await connect(sim) as second:
                assert (await second.push(authorization=fresh)).status == 200
            assert sim.ledger.summary()["bearers_per_key"] == {SIGNER.key_id: 2}

    asyncio.run(scenario())


def test_a_new_token_within_twenty_minutes_is_refused_with_429() -> None:
    async def scenario() -> None:
        clock = Clock()
        async with simulator(clock) as sim, await connect(sim) as client:
            await client.push()
            old, new = client.authorization, SIGNER.bearer(time.time() + 1)
            answer = await client.push(authorization=new)
            assert (answer.status, answer.reason) == (429, "TooManyProviderTokenUpdates")
            assert (await client.push(authorization=old)).status == 200
            clock.ahead_s = 1201
            assert (await client.push(authorization=new)).status == 200

    asyncio.run(scenario())


def test_an_injected_round_trip_delays_and_keeps_the_order(run: Run) -> None:
    async def scenario() -> None:
        async with simulator(rtt_s=0.1) as sim, await connect(sim) as client:
            started_s = time.monotonic()
            await client.push()
            assert time.monotonic() - started_s > 0.05
            sent = []
            for _ in range(200):
                sent.append(client.open())
                client.flush()
                await asyncio.sleep(0.002)
            await client.until(lambda: len(client.order) == 201)
            assert client.order[1:] == sent
            # one after the other they would cost 200 times one direction at least
            assert time.monotonic() - started_s < 200 * 0.05

    run(scenario())


def test_what_was_under_way_when_the_client_died_still_arrives() -> None:
    async def scenario() -> None:
        async with simulator(rtt_s=0.1) as sim:
            async with await connect(sim) as client:
                await client.push()
                client.open(apns_id=(last_id := str(uuid.uuid4())))
                client.flush()
                await asyncio.sleep(0.01)
            async with asyncio.timeout(5):
                while not sim.ledger.accepted(last_id):
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_an_error_body_waits_for_the_clients_window() -> None:
    async def scenario() -> None:
        settings = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
        async with simulator() as sim, await connect(sim, settings) as client:
            stream_id = client.open(token="zz")
            client.flush()
            await client.until(lambda: bool(client.limits))
            await asyncio.sleep(0.05)
            assert stream_id not in client.answers
            client.h2.increment_flow_control_window(100, stream_id)
            client.flush()
            await client.until(lambda: stream_id in client.answers)
            assert client.answers[stream_id].reason == "BadDeviceToken"

    asyncio.run(scenario())


def test_a_client_that_breaks_the_protocol_is_told_and_noted() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await connect(sim) as client:
            await client.push()
            assert client._transport is not None
            client._transport.write(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
            with suppress(TimeoutError):
                await client.until(lambda: bool(client.goaways) and client.is_lost)
            assert client.goaways[0][1] == ErrorCodes.PROTOCOL_ERROR
            assert sum(sim.ledger.summary()["protocol_errors"].values()) == 1

    asyncio.run(scenario())


def test_stopping_with_pushes_in_flight_leaves_nothing_behind(run: Run) -> None:
    async def scenario() -> None:
        sim = simulator(rtt_s=0.2)
        await sim.start()
        client = await connect(sim)
        client.open()
        client.flush()
        await asyncio.sleep(0.05)
        await sim.stop()
        await sim.stop()
        await client.until(lambda: client.is_lost)
        assert sim.open_connections == 0
        assert len(asyncio.all_tasks()) == 1

    run(scenario())


def test_bad_options_say_which_one() -> None:
    with pytest.raises(ValueError, match="rtt_s must be 0 to 60"):
        SimulatorOptions(rtt_s=-1)
    with pytest.raises(ValueError, match="port must be 0"):
        SimulatorOptions(port=65_536)
