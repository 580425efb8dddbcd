"""The lab of the benches: what it does to Redis' file is what a kill in the middle of a write does."""

import os
import signal

import redis as redis_py

from loadtest.bench.lab import lab
from loadtest.bench.tuning_redis import kept_after_kill


def test_a_torn_file_ends_in_half_a_transaction_of_which_nothing_is_done() -> None:
    with lab("always") as place:
        with redis_py.Redis.from_url(place.redis.url) as client:
            client.rpush("ready", "a", "b")
        os.kill(place.redis_pid, signal.SIGKILL)
        place.redis.stop()
        place.tear_aof([("LPOP", "ready"), ("RPUSH", "claim", "torn")])
        [file] = place.redis.directory.glob("appendonlydir/*.incr.aof")
        assert file.read_bytes().endswith(b"*3\r\n$5\r\nRPUSH\r\n$5\r\nclaim\r\n$4\r\nto")
        place.redis.start()
        with redis_py.Redis.from_url(place.redis.url) as client:
            assert client.lrange("ready", 0, -1) == [b"a", b"b"]
            assert client.exists("claim") == 0
        assert place.aof_faults().misread == 0


def test_a_lab_may_run_redis_with_other_settings() -> None:
    with lab(settings={"appendonly": "no", "save": "60 1"}, under=("env",)) as place:
        with redis_py.Redis.from_url(place.redis.url) as client:
            assert client.config_get("appendonly")["appendonly"] == "no"
            assert client.config_get("save")["save"] == "60 1"
            # what is not named is as Clarion has it
            assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_stored_jobs_outlive_a_kill_with_the_append_only_file_alone() -> None:
    assert kept_after_kill({}, 500) == 500
    assert kept_after_kill({"appendonly": "no"}, 500) == 0
