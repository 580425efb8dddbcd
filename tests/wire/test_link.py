"""One link over real TLS against the simulator: what it takes, when, and what it says became of it."""

from collections import deque
from typing import Any

import pytest
from rig import Rig, Watcher, ids, run, until

from engine.apns.headers import ProfileBook
from engine.apns.outcomes import DISCONNECTED, OVERDUE, UNPROCESSED, Certainty, Lost, Refused
from engine.link.link import Link, Phase
from loadtest.simulator.server import Device


async def proved(rig: Rig, watcher: Watcher) -> Link:
    """A link on which APNs has accepted one push, so that it takes many."""
    link = await rig.link(watcher)
    _, first = rig.held(1)
    link.send(first, 1)
    await until(lambda: link.phase is Phase.OPEN, lambda: link)
    await until(lambda: link.room() > 1, lambda: link)
    watcher.accepted.clear()
    return link


@pytest.mark.parametrize("streams_first", [1, 1000])
def test_one_push_is_under_way_until_one_was_accepted_whatever_the_settings_allow(streams_first: int) -> None:
    async def scenario() -> None:
        async with Rig(streams_first=streams_first, rtt_s=0.02) as rig:
            watcher = Watcher()
            link = await rig.link(watcher)
            assert (link.phase, link.room()) == (Phase.PROBING, 1)
            _, held = rig.held(101)
            assert link.send(held[:1], link.room()) == 1
            assert link.room() == 0
            await until(lambda: link.room() > 1, lambda: link)
            assert link.phase is Phase.OPEN
            assert link.send(held[1:], link.room()) == 100
            await until(lambda: len(watcher.accepted) == 101, lambda: link)
            assert rig.times_tried(ids(held)) == {1}

    run(scenario)


def test_a_rejected_first_push_leaves_room_for_one_more_until_one_is_accepted() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await rig.link(watcher)
            rig.simulator.tell(Device(token="bad0", fate="bad"))
            for rejected in range(1, 4):
                _, bad = rig.held(1, device_token=b"bad0")
                assert link.send(bad, link.room()) == 1
                await until(lambda so_far=rejected: len(watcher.others) == so_far)
                assert (link.phase, link.room()) == (Phase.PROBING, 1)
            _, good = rig.held(1)
            link.send(good, 1)
            await until(lambda: link.phase is Phase.OPEN)
            assert watcher.said() == [Refused(400, "BadDeviceToken")] * 3

    run(scenario)


def test_after_a_goaway_the_ids_above_it_are_disowned_at_once_and_those_below_are_awaited() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            rig.simulator.script(
                [
                    {
                        "match": {"nth": 5},
                        "then": [{"do": "goaway"}, {"do": "delay", "delay_s": 0.1}, {"do": "judge"}],
                    },
                    {"then": [{"do": "delay", "delay_s": 0.1}, {"do": "judge"}]},
                ]
            )
            _, held = rig.held(10)
            assert link.send(held, 10) == 10
            await until(lambda: watcher.others)
            # requests 2 to 5 are ours up to the GOAWAY; the other six were never looked at
            assert watcher.others == [(entry, UNPROCESSED) for entry in held[4:]]
            assert (link.phase, link.room(), len(watcher.accepted)) == (Phase.DRAINING, 0, 0)
            await until(lambda: watcher.closes)
            assert watcher.accepted == held[:4]
            assert link.phase is Phase.CLOSED
            assert len(watcher.others) == 6

    run(scenario)


def test_a_second_lower_goaway_disowns_what_it_newly_uncovers() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            wait = [{"do": "delay", "delay_s": 0.05}]
            rig.simulator.script(
                [
                    {
                        "match": {"nth": 5},
                        "then": [
                            {"do": "goaway"},
                            *wait,
                            {"do": "goaway", "last_stream_offset": -2},
                            {"do": "silence"},
                        ],
                    },
                    {"then": [{"do": "delay", "delay_s": 0.2}, {"do": "judge"}]},
                ]
            )
            _, held = rig.held(6)
            link.send(held, 6)
            await until(lambda: watcher.closes, lambda: link)
            assert watcher.others == [(entry, UNPROCESSED) for entry in held[4:] + held[2:4]]
            assert watcher.accepted == held[:2]

    run(scenario)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("REFUSED_STREAM", Lost(Certainty.NEVER_SENT, "refused_stream")),
        ("INTERNAL_ERROR", Lost(Certainty.IN_DOUBT, "stream_reset")),
        ("NO_ERROR", Lost(Certainty.IN_DOUBT, "stream_reset")),
    ],
)
def test_a_reset_stream_frees_its_place_and_says_what_is_known(code: str, outcome: Lost) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            rig.simulator.script([{"then": [{"do": "reset_stream", "code": code}]}])
            _, held = rig.held(1)
            room = link.room()
            link.send(held, 1)
            await until(lambda: watcher.others)
            assert watcher.others == [(held[0], outcome)]
            assert (link.room(), link.phase) == (room, Phase.OPEN)

    run(scenario)


def test_a_push_without_an_answer_is_cancelled_and_its_place_is_free_on_both_sides() -> None:
    async def scenario() -> None:
        # one stream, and the excess ends the connection: were the place not freed at APNs, we would hear of it
        async with Rig(streams_max=1, excess_streams="goaway") as rig:
            watcher = Watcher()
            link = await rig.link(watcher)
            rig.simulator.script([{"match": {"nth": 1}, "then": [{"do": "silence"}]}])
            _, [silent, following] = rig.held(2)
            link.send([silent], 1)
            await until(lambda: len(rig.simulator.ledger) == 1)
            link.overdue(30.0)
            assert link.room() == 0
            rig.clock.ahead_s += 29.0
            link.overdue(30.0)
            assert watcher.others == []
            rig.clock.ahead_s += 1.0
            link.overdue(30.0)
            assert watcher.others == [(silent, OVERDUE)]
            assert link.room() == 1
            link.send([following], 1)
            await until(lambda: watcher.accepted == [following], lambda: link)
            assert watcher.closes == 0

    run(scenario)


def test_only_the_pushes_past_their_deadline_are_cancelled() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            rig.simulator.script([{"then": [{"do": "silence"}]}])
            _, held = rig.held(30)
            for batch in (held[:10], held[10:20], held[20:]):
                link.send(batch, 10)
                rig.clock.ahead_s += 10.0
            link.overdue(20.0)
            assert watcher.others == [(entry, OVERDUE) for entry in held[:20]]
            assert link.in_flight() == 10

    run(scenario)


@pytest.mark.parametrize("end", [{"do": "close"}, {"do": "close", "abort": True}])
def test_a_connection_that_ends_leaves_what_was_under_way_in_doubt_and_is_reported_once(
    end: dict[str, Any],
) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            rig.simulator.script([{"skip": 4, "then": [end]}, {"then": [{"do": "silence"}]}])
            _, held = rig.held(5)
            link.send(held, 5)
            await until(lambda: watcher.closes, lambda: link)
            assert watcher.others == [(entry, DISCONNECTED) for entry in held]
            assert (link.room(), link.in_flight(), watcher.closes) == (0, 0, 1)
            link.retire()
            link.abort()
            link.overdue(0.0)
            assert watcher.closes == 1

    run(scenario)


def test_nothing_is_taken_from_the_moment_in_which_the_peer_ended_its_side() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            link.eof_received()
            assert (link.usable, link.room(), watcher.closes) == (False, 0, 0)
            await until(lambda: watcher.closes)
            assert link.phase is Phase.CLOSED

    run(scenario)


def test_a_window_that_opens_again_is_told_though_no_answer_is_awaited() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            rig.simulator.script([{"times": 1, "then": [{"do": "withhold_window", "for_s": 0.2}]}])
            _, held = rig.held(40, payload=b"x" * 4096)
            assert link.send(held, 1) == 1
            await until(lambda: len(watcher.accepted) == 1)
            sent = 1 + link.send(held[1:], 40)
            assert sent < 40
            await until(lambda: len(watcher.accepted) == sent)
            assert link.send(held[sent:], 40) == 0
            told = watcher.writables
            await until(lambda: watcher.writables > told, lambda: link)
            assert link.send(held[sent:], 40) > 0

    run(scenario)


def test_retire_waits_for_what_is_under_way_and_says_goodbye() -> None:
    async def scenario() -> None:
        async with Rig(rtt_s=0.05) as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            _, held = rig.held(20)
            link.send(held, 20)
            link.retire()
            link.retire()
            assert (link.room(), link.phase) == (0, Phase.DRAINING)
            await until(lambda: watcher.closes)
            assert watcher.accepted == held
            assert watcher.others == []
            await until(lambda: rig.simulator.open_connections == 0)

    run(scenario)


@pytest.mark.parametrize(
    "shape",
    [
        {"reason": "BadTopic", "data_frames": 2},
        {"reason": "BadTopic", "apns_id": "absent"},
        {"reason": "BadTopic", "apns_id": "upper"},
        {"status": 400, "body": '{"reason":"BadTopic"}'},
    ],
)
def test_an_answer_is_matched_and_read_in_whatever_shape_it_comes(shape: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            rig.simulator.script([{"then": [{"do": "answer", **shape}]}])
            _, held = rig.held(3)
            link.send(deque(held), 3)
            await until(lambda: len(watcher.others) == 3)
            assert watcher.others == [(entry, Refused(400, "BadTopic")) for entry in held]

    run(scenario)


@pytest.mark.parametrize("body", ["", "<html>", '{"reason":"Unregistered","timestamp":NaN}', "[" * 6000])
def test_no_body_of_an_error_harms_the_link(body: str) -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            rig.simulator.script([{"times": 1, "then": [{"do": "answer", "status": 500, "body": body}]}])
            _, held = rig.held(2)
            link.send(held, 2)
            await until(lambda: len(watcher.others) + len(watcher.accepted) == 2, lambda: link)
            assert watcher.accepted == [held[1]]
            assert link.usable

    run(scenario)


def test_a_new_token_starts_the_header_table_over_so_that_old_ones_take_no_place_in_it() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            watcher = Watcher()
            link = await proved(rig, watcher)
            encoder = link.connection._writer.encoder
            before = repr(encoder)
            for _ in range(3):
                rig.wall.ahead_s += 3000.0
                link.wear(ProfileBook(rig.at.authority, rig.bearer().badge(rig.wall())))
                _, held = rig.held(2)
                watcher.accepted.clear()
                link.send(held, 2)
                await until(lambda: len(watcher.accepted) == 2, lambda: watcher.others)
                assert repr(encoder) == before

    run(scenario)


def test_its_text_says_how_it_stands() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            link = await rig.link(Watcher())
            assert repr(link).startswith("<Link probing <http2.Connection open, 0 of 1 streams, window 65535")

    run(scenario)
