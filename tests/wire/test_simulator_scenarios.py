"""What scenarios need of the simulator: the ways not to accept, a peer that does not read, and their door."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp import web
from test_simulator_faults import connect, simulator, warm

from loadtest.simulator.control import control_app
from loadtest.simulator.run import RunOptions
from loadtest.simulator.server import Simulator


def test_new_connections_are_refused_or_stalled_or_served_as_it_is_told() -> None:
    async def scenario() -> None:
        async with simulator(accept="refuse") as sim:
            with pytest.raises(OSError):
                await connect(sim)
            await sim.accept("serve")
            async with await warm(sim) as old:
                await sim.accept("stall")
                stalled = asyncio.ensure_future(connect(sim))
                done, _ = await asyncio.wait([stalled], timeout=0.2)
                assert not done
                stalled.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await stalled
                # who was there is served on
                assert (await old.push()).status == 200
                await sim.accept("refuse")
                with pytest.raises(OSError):
                    await connect(sim)
                await sim.accept("serve")
                async with await warm(sim):
                    assert sim.open_connections == 2

    asyncio.run(scenario())


def test_a_peer_that_has_stopped_reading_goes_on_to_speak() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            sim.script(
                [{"times": 1, "then": [{"do": "stop_reading", "ping_every_s": 0.02}, {"do": "silence"}]}]
            )
            client.open()
            client.flush()
            await client.until(lambda: len(sim.ledger) == 2)
            client.open()
            client.flush()
            await asyncio.sleep(0.2)
            assert (len(sim.ledger), len(client.answers), client.is_lost) == (2, 1, False)

    asyncio.run(scenario())


def test_what_comes_at_once_overtakes_what_waits() -> None:
    async def scenario() -> None:
        async with simulator() as sim, await warm(sim) as client:
            slow = [{"do": "delay", "delay_s": 0.2}, {"do": "judge"}]
            at_once = [{"do": "delay", "delay_s": 0}, {"do": "judge"}]
            sim.script([{"times": 1, "then": slow}, {"then": at_once}])
            late, soon, sooner = client.open(), client.open(), client.open()
            client.flush()
            await client.until(lambda: late in client.answers)
            assert list(client.answers) == [1, soon, sooner, late]

    uvloop.run(scenario())


async def door(sim: Simulator) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(control_app(sim), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def test_the_door_lists_scenarios_plays_them_and_ends_them() -> None:
    async def scenario() -> None:
        async with simulator() as sim:
            runner, url = await door(sim)
            try:
                async with aiohttp.ClientSession(url) as session:
                    listed = await (await session.get("/scenarios")).json()
                    assert [each["number"] for each in listed] == [f"S{number}" for number in range(1, 38)]
                    assert (await session.post("/scenarios", json={"name": "S29"})).status == 204
                    async with await connect(sim) as client:
                        assert (await client.push()).reason == "ServiceUnavailable"
                        narrow = {"name": "unavailable", "team": "ANOTHER000"}
                        assert (await session.post("/scenarios", json=narrow)).status == 204
                        assert (await client.push()).status == 200
                    assert (await session.post("/scenarios", json={"name": "S32"})).status == 204
                    with pytest.raises(OSError):
                        await connect(sim)
                    assert (await session.delete("/script")).status == 204
                    async with await warm(sim):
                        pass
                    answer = await session.post("/scenarios", json={"name": "S0"})
                    assert (answer.status, json.loads(await answer.text())["field"]) == (400, "$.name")
            finally:
                await runner.cleanup()

    asyncio.run(scenario())


def test_a_process_is_told_its_scenario_before_it_starts() -> None:
    assert RunOptions(data_dir=Path("x"), scenario="S14").scenario == "S14"
    with pytest.raises(ValueError, match="'S99' is no scenario"):
        RunOptions(scenario="S99")
