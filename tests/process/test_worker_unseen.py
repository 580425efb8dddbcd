"""A fault that no part of a worker sees: it ends, with the fault as its last word, and the next one goes on."""

from pathlib import Path

from worker_process import Place, run, until

FAULTY = str(Path(__file__).with_name("faulty_worker.py"))


def test_a_worker_whose_callback_raises_ends_and_the_next_one_sends_what_it_held(
    redis_url: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with Place(redis_url, tmp_path) as place:
            # nothing is answered yet, so all of it is in the first worker's hands or in the queues
            place.simulator.script([{"then": [{"do": "silence"}]}])
            fault = tmp_path / "fault"
            worker = await place.worker(program=FAULTY, fault=str(fault), drain_s=0.0)
            pushed = await place.enqueue(place.jobs(100))
            await until(place.claims, lambda: worker)
            fault.touch()
            assert await worker.exit_code() != 0
            # after the traceback
            assert worker.log.read_text().rstrip().endswith("ValueError: a fault of ours")
            place.simulator.script([])
            following = await place.worker()
            await until(lambda: place.accepted(pushed)[1] == 100, lambda: following)
            await place.settled(following)
            assert place.dead() == []

    run(scenario)
