"""The stored envelope, which two versions must be able to read at the same time, and the ids of pushes."""

import os
import re
from pathlib import Path
from uuid import RFC_4122, UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.job import Job, decode_job, encode_job, new_ids

FIXTURES = Path(__file__).parent / "fixtures"
CANONICAL = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

FULL = Job(
    id=b"0190a5c8-7e2b-7abc-8def-0123456789ab",
    device_token=b"5f" * 32,
    topic="com.acme.app",
    payload='{"aps":{"alert":"Grüße"}}'.encode(),
    environment="sandbox",
    push_type="background",
    priority=5,
    expiration=1_900_000_000,
    collapse_id=b"score",
    admitted_ms=1_722_000_000_000,
    attempts=3,
)


def test_a_job_comes_back_as_it_was_written() -> None:
    assert decode_job(encode_job(FULL)) == FULL


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("job-*.hex")), ids=lambda path: path.stem)
def test_a_job_that_an_earlier_version_stored_still_decodes(path: Path) -> None:
    job = decode_job(bytes.fromhex(path.read_text()))
    # each version wrote the same job, as far as it knew the fields
    known = len(msgspec.msgpack.decode(bytes.fromhex(path.read_text())))
    fields = Job.__struct_fields__
    assert [getattr(job, name) for name in fields[:known]] == [getattr(FULL, name) for name in fields[:known]]
    defaults = Job(FULL.id, FULL.device_token, FULL.topic, FULL.payload)
    assert [getattr(job, name) for name in fields[known:]] == [
        getattr(defaults, name) for name in fields[known:]
    ]


def test_todays_format_has_its_fixture() -> None:
    # when this fails because the Job grew: keep the old files and add one for the new version
    assert encode_job(FULL).hex() in {path.read_text().strip() for path in FIXTURES.glob("job-*.hex")}


def test_a_job_that_a_newer_version_stored_decodes_without_what_is_new() -> None:
    longer = [*msgspec.msgpack.decode(encode_job(FULL)), "a new field", {"another": 1}]
    assert decode_job(msgspec.msgpack.encode(longer)) == FULL


def test_a_short_record_is_filled_with_what_absent_means() -> None:
    job = decode_job(msgspec.msgpack.encode([b"id", b"token", "topic", b"{}"]))
    assert (job.environment, job.push_type, job.collapse_id) == ("production", "alert", b"")
    # an absent expiration is not 0, which would mean "try once, never store"
    assert (job.priority, job.expiration, job.attempts) == (0, -1, 0)


@pytest.mark.parametrize("damaged", [b"", b"\x93", b"\xc0", encode_job(FULL)[:-1]])
def test_a_damaged_record_is_not_taken_for_a_job(damaged: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_job(damaged)


@given(now_ms=st.integers(0, 2**48 - 1), randomness=st.binary(min_size=10, max_size=10))
def test_ids_are_canonical_text_of_uuid_version_7(now_ms: int, randomness: bytes) -> None:
    [text] = new_ids(now_ms, randomness)
    assert CANONICAL.fullmatch(text)
    uuid = UUID(text.decode())
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert uuid.int >> 80 == now_ms


def test_the_example_of_the_rfc_comes_out_of_its_parts() -> None:
    # RFC 9562, appendix A.6; the fourth digit holds the two bits beside the variant, the last one is not used
    randomness = bytes.fromhex("cc3" + "1" + "8c4" + "dc0c0c07398f" + "0")
    assert list(new_ids(0x017F22E279B0, randomness)) == [b"017f22e2-79b0-7cc3-98c4-dc0c0c07398f"]


def test_there_is_one_id_for_each_ten_bytes_and_none_for_the_rest() -> None:
    assert [len(list(new_ids(1, bytes(count)))) for count in (0, 9, 10, 19, 20, 305)] == [0, 0, 1, 1, 2, 30]


def test_ids_of_one_millisecond_differ() -> None:
    assert len(set(new_ids(1, os.urandom(10 * 5_000)))) == 5_000


def test_each_of_74_bits_comes_from_the_randomness() -> None:
    [base] = new_ids(0, bytes(10))
    changed = [next(new_ids(0, (1 << bit).to_bytes(10, "big"))) for bit in range(80)]
    # six of the eighty stand where the version and the variant are
    assert len({*changed} - {base}) == 74


@given(st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=20, unique=True))
def test_ids_sort_as_their_milliseconds_do(times_ms: list[int]) -> None:
    ids = {now_ms: next(new_ids(now_ms, os.urandom(10))) for now_ms in times_ms}
    assert sorted(ids.values()) == [ids[now_ms] for now_ms in sorted(times_ms)]
