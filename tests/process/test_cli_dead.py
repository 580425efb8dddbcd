"""``clarion dead`` and the conditions in ``clarion tenant list``, as a person meets them."""

import re
from pathlib import Path

import pytest
import redis as redis_py
from test_cli import clarion, creating, one_line

from loadtest.teams import make_team
from shards.campaign import apns_id_of, element, new_campaign_id
from shards.job import Job, decode_job, encode_job
from shards.keys import CONDITIONS, TENANTS, shard_keys
from shards.tenant import Tenant, encode_tenant

IDS = [f"018f3c1e-5b7a-7000-8000-00000000000{number}" for number in range(4)]
TOKEN = "00fc13adff78512200fc13adff785122"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "AuthKey_KEYS000001.p8"
    path.write_bytes(make_team(1).private_key_pem)
    return path


@pytest.fixture
def raw(redis_url: str) -> redis_py.Redis:
    """A Redis with three letters of two tenants."""
    client = redis_py.Redis.from_url(redis_url)
    letters = [(0, "acme", "BadDeviceToken"), (1, "acme", "InDoubt: deadline"), (5, "zeta", "BadDeviceToken")]
    for number, (shard, tenant, reason) in enumerate(letters):
        job = Job(
            IDS[number].encode(), TOKEN.encode(), "com.acme.app", b'{"aps":{"alert":"Hi"}}', attempts=number
        )
        fields = {"tenant": tenant, "reason": reason, "at_ms": 1_700_000_000_000, "job": encode_job(job)}
        client.xadd(
            shard_keys(shard).dead,
            {**fields, "lane": "high", "status": 400, "timestamp_ms": 0, "attempts": number},
            id=f"{1_000 + number}-0",
        )
    return client


def left(raw: redis_py.Redis) -> int:
    return sum(raw.xlen(shard_keys(shard).dead) for shard in range(64))


def test_the_list_is_newest_first_with_shortened_tokens(
    raw: redis_py.Redis, redis_url: str, tmp_path: Path
) -> None:
    said, _ = clarion("dead", "list", "--redis-url", redis_url, cwd=tmp_path, code=0)
    assert re.findall(r"018f3c1e-\S+", said) == [IDS[2], IDS[1], IDS[0]]
    assert TOKEN not in said and "00fc…5122" in said
    said, _ = clarion("dead", "list", "--redis-url", redis_url, "--tenant", "acme", cwd=tmp_path, code=0)
    assert re.findall(r"018f3c1e-\S+", said) == [IDS[1], IDS[0]]
    words = ("--reason", "BadDev", "--limit", "1")
    said, _ = clarion("dead", "list", "--redis-url", redis_url, *words, cwd=tmp_path, code=0)
    assert re.findall(r"018f3c1e-\S+", said) == [IDS[2]]
    said, _ = clarion("dead", "list", "--redis-url", redis_url, "--tenant", "nobody", cwd=tmp_path, code=0)
    assert "no such dead letter" in said


def test_on_a_narrow_terminal_a_row_is_a_line_with_its_id_whole(
    raw: redis_py.Redis, redis_url: str, tmp_path: Path
) -> None:
    said, _ = clarion("dead", "list", "--redis-url", redis_url, cwd=tmp_path, code=0, COLUMNS="80")
    assert [re.findall(r"018f3c1e-\S+", line) for line in said.splitlines()[1:]] == [
        [IDS[2]],
        [IDS[1]],
        [IDS[0]],
    ]
    assert "InDoubt: deadline" in said


def test_one_is_shown_whole(raw: redis_py.Redis, redis_url: str, tmp_path: Path) -> None:
    said, _ = clarion("dead", "show", IDS[1].upper(), "--redis-url", redis_url, cwd=tmp_path, code=0)
    assert TOKEN in said and '{"aps":{"alert":"Hi"}}' in said and "InDoubt: deadline" in said
    _, error = clarion("dead", "show", IDS[3], "--redis-url", redis_url, cwd=tmp_path, code=1)
    assert f"there is no dead letter {IDS[3]}" in one_line(error)


def test_a_push_whose_campaign_is_not_known_any_more_is_shown_as_far_as_it_can_be(
    raw: redis_py.Redis, redis_url: str, tmp_path: Path
) -> None:
    lost = element(new_campaign_id(1_700_000_000_000, bytes(10)), 0, bytes.fromhex(TOKEN))
    fields = {"tenant": "acme", "reason": "CampaignUnknown", "at_ms": 1_700_000_000_000, "job": lost}
    raw.xadd(shard_keys(3).dead, fields)
    apns_id = apns_id_of(lost).decode()
    said, _ = clarion("dead", "show", apns_id, "--redis-url", redis_url, cwd=tmp_path, code=0)
    assert "CampaignUnknown" in said and "its campaign is not known any more" in said
    put_tenants(raw, Tenant("acme"))
    said, _ = clarion("dead", "replay", apns_id, "--redis-url", redis_url, cwd=tmp_path, code=0)
    assert "0 of 1" in said
    assert left(raw) == 4


def put_tenants(raw: redis_py.Redis, *tenants: Tenant) -> None:
    raw.hset(TENANTS, mapping={tenant.id: encode_tenant(tenant) for tenant in tenants})


def test_replay_queues_again_by_id_or_by_reason(raw: redis_py.Redis, redis_url: str, tmp_path: Path) -> None:
    put_tenants(raw, Tenant("acme"), Tenant("zeta"))
    said, _ = clarion("dead", "replay", IDS[1], "--redis-url", redis_url, cwd=tmp_path, code=0)
    assert "1 of 1 dead letters are queued again." in said
    [job] = raw.lrange("clarion:{01}:high:acme", 0, -1)
    assert (decode_job(job).id.decode(), decode_job(job).attempts) == (IDS[1], 0)
    words = ("--redis-url", redis_url, "--reason", "BadDeviceToken")
    said, _ = clarion("dead", "replay", *words, cwd=tmp_path, code=0)
    assert "2 of 2" in said
    assert left(raw) == 0


def test_what_a_deleted_tenant_left_is_not_sent_as_another_s(
    raw: redis_py.Redis, redis_url: str, tmp_path: Path
) -> None:
    # two letters are of an earlier acme, and there is no zeta
    put_tenants(raw, Tenant("acme", created_ms=1_700_000_000_001))
    words = ("dead", "replay", "--redis-url", redis_url, *IDS[:3])
    said, _ = clarion(*words, cwd=tmp_path, code=0)
    assert "0 of 3" in said and "3 left there, since their tenant was deleted" in said and "--force" in said
    assert left(raw) == 3
    said, _ = clarion(*words, "--force", cwd=tmp_path, code=0)
    assert "2 of 3" in said and "1 left there" in said
    assert left(raw) == 1


def test_purge_throws_away_what_is_named(raw: redis_py.Redis, redis_url: str, tmp_path: Path) -> None:
    said, _ = clarion("dead", "purge", "--redis-url", redis_url, "--tenant", "acme", cwd=tmp_path, code=0)
    assert "2 dead letters are thrown away" in said and left(raw) == 1
    said, _ = clarion("dead", "purge", "--redis-url", redis_url, "--all", cwd=tmp_path, code=0)
    assert "1 dead letters" in said and left(raw) == 0
    said, _ = clarion("dead", "list", "--redis-url", redis_url, cwd=tmp_path, code=0)
    assert "There are no dead letters." in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("purge",), "say which"),
        (("purge", "--all", "--tenant", "acme"), "say which"),
        (("replay",), "say which"),
        (("replay", IDS[0], "--tenant", "acme"), "say which"),
        (("list", "--limit", "0"), "--limit is 0"),
    ],
)
def test_what_is_not_clear_is_asked_for_and_nothing_is_done(
    raw: redis_py.Redis, redis_url: str, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    _, error = clarion("dead", *words, "--redis-url", redis_url, cwd=tmp_path, code=1)
    assert said in one_line(error)
    assert left(raw) == 3


def test_a_tenant_says_what_becomes_of_doubtful_pushes_and_every_shard_knows(
    key_file: Path, redis_url: str, tmp_path: Path
) -> None:
    client = redis_py.Redis.from_url(redis_url)
    where = {"redis-url": redis_url}
    clarion(*creating(key_file, tmp_path, "codes", **where, **{"in-doubt": "bury"}), cwd=tmp_path, code=0)
    clarion(*creating(key_file, tmp_path, "news", **where), cwd=tmp_path, code=0)
    assert {frozenset(client.smembers(shard_keys(shard).once)) for shard in range(64)} == {
        frozenset({b"codes", b"codes/sandbox"})
    }
    said, _ = clarion("tenant", "list", "--redis-url", redis_url, cwd=tmp_path, code=0)
    assert re.search(r"codes .* bury ", said) and re.search(r"news .* resend ", said)
    said, error = clarion(
        *creating(key_file, tmp_path, "odd", **where, **{"in-doubt": "perhaps"}), cwd=tmp_path, code=2
    )
    assert "resend" in said + error


def test_a_condition_is_shown_below_the_tenants_that_it_holds_up(
    key_file: Path, redis_url: str, tmp_path: Path
) -> None:
    client = redis_py.Redis.from_url(redis_url)
    for name, topic in (("acme", "com.acme.app"), ("zeta", "com.zeta.app")):
        clarion(
            *creating(key_file, tmp_path, name, **{"redis-url": redis_url, "topic": topic}),
            cwd=tmp_path,
            code=0,
        )
    record = '{"reason":"TopicDisallowed","since_ms":"1700000000000","seen_ms":"1700000060000","count":"7"}'
    client.hset(CONDITIONS, "production/TEAM000001/KEYS000001/com.zeta.app", record)
    said, _ = clarion("tenant", "list", "--redis-url", redis_url, cwd=tmp_path, code=0)
    [line] = [line for line in said.splitlines() if "paused since" in line]
    assert line.startswith("zeta: ") and "APNs says TopicDisallowed to topic com.zeta.app" in line
    assert "7 times" in line
    client.hset(CONDITIONS, "production/TEAM000001/KEYS000001/", record)
    said, _ = clarion("tenant", "list", "--redis-url", redis_url, cwd=tmp_path, code=0)
    assert sum("to credential KEYS000001" in line for line in said.splitlines()) == 2
