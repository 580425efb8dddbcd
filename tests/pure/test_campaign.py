"""Campaigns as they are stored: an element and a record make the job that a single push would have been."""

from pathlib import Path
from uuid import RFC_4122, UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.worker.campaigns import Campaigns
from engine.worker.decoding import Decoded, decode_run
from engine.worker.hand import Claim, HeldRun
from shards.campaign import (
    ID_BYTES,
    MARK,
    PUSHES_MOST,
    Campaign,
    admitted_ms_of,
    apns_id_of,
    campaign_of,
    common_of,
    decode_campaign,
    element,
    encode_campaign,
    expand,
    is_element,
    new_campaign_id,
)
from shards.claim import Holding
from shards.job import Job, encode_job

FIXTURES = Path(__file__).parent / "fixtures"
CHANCE = bytes(range(10))
ID = new_campaign_id(1_722_000_000_000, CHANCE)
OTHER = new_campaign_id(1_722_000_000_000, bytes(10))
TOKEN = bytes.fromhex("5f" * 32)
FULL = Campaign(
    topic="com.acme.app",
    payload='{"aps":{"alert":"Grüße"}}'.encode(),
    environment="sandbox",
    push_type="background",
    priority=5,
    expiration=1_900_000_000,
    collapse_id=b"score",
    admitted_ms=1_722_000_000_000,
)
PLAIN = Campaign("com.acme.app", b'{"aps":{}}')


def test_a_campaign_comes_back_as_it_was_written() -> None:
    assert decode_campaign(encode_campaign(FULL)) == FULL


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("campaign-*.hex")), ids=lambda path: path.stem)
def test_a_campaign_that_an_earlier_version_stored_still_decodes(path: Path) -> None:
    stored = bytes.fromhex(path.read_text())
    known = len(msgspec.msgpack.decode(stored))
    assert msgspec.structs.astuple(decode_campaign(stored))[:known] == msgspec.structs.astuple(FULL)[:known]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("element-*.hex")), ids=lambda path: path.stem)
def test_an_element_that_an_earlier_version_stored_still_expands(path: Path) -> None:
    stored = bytes.fromhex(path.read_text())
    assert is_element(stored)
    assert [(job.id, job.device_token) for job in expand([stored], FULL)] == [
        (apns_id_of(element(ID, 258, TOKEN)), b"5f" * 32)
    ]


def test_todays_formats_have_their_fixtures() -> None:
    # when this fails because a format grew: keep the old files and add one for the new version
    fixtures = {path.read_text().strip() for path in FIXTURES.glob("*.hex")}
    assert encode_campaign(FULL).hex() in fixtures
    assert element(ID, 258, TOKEN).hex() in fixtures


def test_a_record_behind_an_id_and_a_token_is_a_job() -> None:
    # what the scripts rely on when they write a job of an element
    job = Job(b"1", b"ab", *msgspec.structs.astuple(FULL))
    [first, *others] = encode_campaign(FULL)
    two = b"".join(map(msgspec.msgpack.encode, (b"1", b"ab")))
    head = msgspec.msgpack.encode([None] * (first - 0x90 + 2))[:1]
    assert msgspec.msgpack.Decoder(Job).decode(head + two + bytes(others)) == job
    assert Job.__struct_fields__[2:-1] == Campaign.__struct_fields__
    assert common_of(job) == FULL


def test_no_job_begins_as_an_element_does() -> None:
    assert not is_element(encode_job(Job(b"1", b"ab", "topic", b"{}")))
    # the one byte that msgpack leaves out
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(MARK)


@given(number=st.integers(0, PUSHES_MOST - 1), token=st.binary(min_size=1, max_size=100))
def test_an_element_says_whose_push_it_is_and_of_which_campaign(number: int, token: bytes) -> None:
    stored = element(ID, number, token)
    [job] = expand([stored], FULL)
    uuid = UUID(job.id.decode())
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert job.id == str(uuid).encode() == apns_id_of(stored)
    assert uuid.bytes == ID + number.to_bytes(3)
    assert (job.device_token, campaign_of(stored)) == (token.hex().encode(), ID)
    assert admitted_ms_of(stored) == uuid.int >> 80 == FULL.admitted_ms
    assert common_of(job) == FULL and job.attempts == 0


def test_a_32_byte_token_makes_an_element_of_49_bytes() -> None:
    assert len(element(ID, 0, TOKEN)) == 49 and len(ID) == ID_BYTES


# -- a run of a claim -------------------------------------------------------------------------------------------------


def sorted_out(*encoded: bytes, flow: str = "acme", now_s: float = 0.0, **known: Campaign) -> Decoded:
    run = HeldRun(Claim(Holding(0, "1.a"), "1.a:1", len(encoded)), "high", flow)
    by_id = {ID: known.get("ours", PLAIN)} | ({OTHER: known["other"]} if "other" in known else {})
    return decode_run(run, encoded, now_s, by_id.get)


def tokens(held: list[tuple[Job, object]]) -> list[bytes]:
    return [job.device_token for job, _ in held]


def test_a_run_may_mix_jobs_and_elements_of_campaigns_and_keeps_its_order() -> None:
    def job(token: bytes) -> bytes:
        return encode_job(Job(b"1", token, "topic", b"{}"))

    found = sorted_out(
        job(b"01"), element(ID, 0, b"\x02"), element(OTHER, 1, b"\x03"), job(b"04"), b"\xc1", b"junk",
        element(ID, 7, b"\x05"), b"", job(b"06"),
        other=PLAIN,
    )  # fmt: skip
    assert tokens(found.held) == [b"01", b"02", b"03", b"04", b"05", b"06"]
    assert found.elements == {ID: 2, OTHER: 1}
    assert (found.unreadable, found.unlearned) == ([b"junk", b""], [b"\xc1"])


def test_elements_of_unknown_campaigns_are_set_apart_and_not_counted() -> None:
    strange = [element(OTHER, number, TOKEN) for number in range(3)]
    found = sorted_out(element(ID, 0, TOKEN), *strange)
    assert (len(found.held), found.unlearned, found.elements) == (1, strange, {ID: 1})


def test_a_campaign_whose_time_is_over_or_whose_environment_is_another_is_not_sent() -> None:
    late = msgspec.structs.replace(PLAIN, expiration=100)
    stray = msgspec.structs.replace(PLAIN, environment="sandbox")
    both = [element(ID, number, TOKEN) for number in range(2)]
    assert len(sorted_out(*both, now_s=100.0, ours=late).expired) == 2
    assert len(sorted_out(*both, now_s=99.0, ours=late).held) == 2
    assert len(sorted_out(*both, ours=stray).strays) == 2
    assert len(sorted_out(*both, ours=stray, flow="acme/sandbox").held) == 2
    # they are none any more in each case
    assert sorted_out(*both, ours=stray).elements == {ID: 2}


# -- what a worker remembers ------------------------------------------------------------------------------------------


def test_the_campaign_that_was_not_asked_for_the_longest_is_forgotten_first() -> None:
    campaigns = Campaigns(most=2)
    campaigns.learn({b"a": PLAIN, b"b": PLAIN})
    assert campaigns.known(b"a") == PLAIN
    campaigns.learn({b"c": PLAIN})
    assert [campaigns.known(each) is None for each in (b"a", b"b", b"c")] == [False, True, False]


def test_payloads_are_remembered_up_to_so_many_bytes() -> None:
    campaigns = Campaigns(bytes_most=25)
    campaigns.learn({bytes([each]): PLAIN for each in range(5)})
    assert repr(campaigns) == "<Campaigns 2 known, 20 bytes>"
    # learning one again counts it once
    campaigns.learn({bytes([4]): PLAIN})
    assert repr(campaigns) == "<Campaigns 2 known, 20 bytes>"
    campaigns.learn({b"huge": FULL})
    assert campaigns.known(b"huge") is None
