"""Secrets at rest: what opens, what does not, what is said then, and how one key takes the place of another."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from shards.credential import context
from shards.errors import VaultError
from shards.vault import KEY_BYTES, READ_AGAIN_S, MasterKey, Vault, decode_master_key, read_master_key

KEY, NEW = bytes(range(32)), bytes(range(32, 64))
KEY_ID, NEW_ID = "630dcd29", "72dbb733"
CONTEXT = context("acme", "KEY0000001")


def line(key: bytes, comment: str = "") -> bytes:
    return base64.b64encode(key) + comment.encode() + b"\n"


def key_file(path: Path, *keys: bytes) -> MasterKey:
    path.write_bytes(b"".join(map(line, keys)))
    return read_master_key(path, create=False)


def test_a_secret_opens_in_its_context() -> None:
    sealed = Vault(KEY).seal(b"-----BEGIN PRIVATE KEY-----", CONTEXT)
    assert b"PRIVATE" not in sealed
    assert Vault(KEY).open(sealed, CONTEXT) == b"-----BEGIN PRIVATE KEY-----"


SEALED_BEFORE = {
    1: "01"  # version
    "000000000000000000000000"  # nonce
    "7dd9d6acd058819b0f90b2e6fb794b036f1f695bba1f",
    2: "02"
    "630dcd29"  # the id of the key
    "000000000000000000000000"
    "7dd9d6acd05842acfa62cdeacf0f84733e5b334811e0",
}


@pytest.mark.parametrize("version", SEALED_BEFORE)
def test_a_secret_that_any_version_sealed_still_opens(version: int) -> None:
    vault, sealed = Vault(KEY), bytes.fromhex(SEALED_BEFORE[version])
    assert vault.open(sealed, CONTEXT) == b"secret"
    assert vault.opener(sealed, CONTEXT) == KEY_ID
    assert vault.is_fresh(sealed) is (version == 2)
    with pytest.raises(VaultError):
        vault.open(sealed, context("zeta", "KEY0000001"))


def test_a_secret_is_sealed_in_the_latest_format() -> None:
    vault = Vault(KEY, randomness=bytes)
    assert vault.seal(b"secret", CONTEXT).hex() == SEALED_BEFORE[2]


def test_no_two_seals_of_a_secret_are_alike() -> None:
    vault = Vault(KEY)
    assert len({vault.seal(b"secret", CONTEXT) for _ in range(20)}) == 20


@pytest.mark.parametrize("context", [context("zeta", "KEY0000001"), context("acme", "KEY0000002"), ""])
def test_a_record_copied_to_another_tenant_or_key_does_not_open(context: str) -> None:
    sealed = Vault(KEY).seal(b"secret", CONTEXT)
    with pytest.raises(VaultError, match="does not open"):
        Vault(KEY).open(sealed, context)


def test_another_master_key_opens_nothing_and_the_message_says_what_to_do() -> None:
    sealed = Vault(KEY).seal(b"secret", CONTEXT)
    with pytest.raises(VaultError, match="--master-key-file"):
        Vault(KEY[::-1]).open(sealed, CONTEXT)


def test_a_changed_bit_anywhere_is_noticed() -> None:
    sealed = Vault(KEY).seal(b"secret", CONTEXT)
    for at in range(len(sealed)):
        damaged = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(VaultError):
            Vault(KEY).open(damaged, CONTEXT)


def test_a_record_cut_short_is_noticed_at_every_length() -> None:
    sealed = Vault(KEY).seal(b"secret", CONTEXT)
    for length in range(len(sealed)):
        with pytest.raises(VaultError):
            Vault(KEY).open(sealed[:length], CONTEXT)


def test_a_format_of_a_later_version_is_named_as_such() -> None:
    with pytest.raises(VaultError, match="format"):
        Vault(KEY).open(b"\x03" + bytes(40), CONTEXT)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_master_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(VaultError, match=f"has {length} bytes"):
        Vault(bytes(length))


def test_a_vault_shows_nothing_of_its_key() -> None:
    assert repr(Vault(KEY)) == f"<Vault {KEY_ID}>"
    shown = repr(MasterKey((KEY, NEW), "here"))
    assert not any(text in shown for text in (KEY.hex(), base64.b64encode(KEY).decode(), repr(KEY)[2:-1]))


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "data" / "master.key"
    before = os.umask(0)
    try:
        key = read_master_key(path, create=True)
    finally:
        os.umask(before)
    assert [len(each) for each in key.keys] == [KEY_BYTES]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["master.key"]


def test_later_starts_read_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = read_master_key(path, create=True)
    assert read_master_key(path, create=True) == key
    assert read_master_key(path, create=False) == key


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    first, second = (read_master_key(tmp_path / name, create=True) for name in "ab")
    assert first.keys != second.keys


def test_first_starts_at_the_same_moment_end_with_one_key(tmp_path: Path) -> None:
    starts = 8
    for attempt in range(20):
        path = tmp_path / str(attempt) / "master.key"
        together = Barrier(starts)

        def start(path: Path = path, together: Barrier = together) -> MasterKey:
            together.wait()
            return read_master_key(path, create=True)

        with ThreadPoolExecutor(starts) as threads:
            started = [threads.submit(start) for _ in range(starts)]
        assert len({future.result() for future in started}) == 1
        assert os.listdir(path.parent) == ["master.key"]


def test_a_missing_file_is_not_made_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with pytest.raises(VaultError, match=f"can't read the master key {path}: No such file"):
        read_master_key(path, create=False)
    assert not path.exists()


@pytest.mark.parametrize("name", ["x" * 300, "file/master.key", "."])
def test_a_path_that_cannot_be_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VaultError) as failure:
        read_master_key(tmp_path / name, create=True)
    assert str(failure.value).startswith("can't ")
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    "text",
    [b"", b"\n", b"not base64!", base64.b64encode(KEY[:31]), base64.b64encode(KEY + b"x"), KEY, b"\xff" * 44],
)
def test_a_file_that_is_no_master_key_is_refused_with_the_way_to_make_one(
    tmp_path: Path, text: bytes
) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(text)
    with pytest.raises(VaultError, match="openssl rand -base64 32") as failure:
        read_master_key(path, create=True)
    assert str(path) in str(failure.value)
    # what was there is left for a person to look at
    assert path.read_bytes() == text


@pytest.mark.parametrize("around", [b"%b", b"%b\n", b"  %b \r\n", b"# ours, since March\n\n%b  # old\n%b\n"])
def test_white_space_comments_and_a_key_written_twice_do_not_matter(around: bytes) -> None:
    key = base64.b64encode(KEY)
    assert decode_master_key(around.replace(b"%b", key), "here").keys == (KEY,)


def test_of_several_keys_the_first_seals_and_all_open() -> None:
    both = decode_master_key(line(NEW, " # new") + line(KEY), "here")
    assert both.ids == [NEW_ID, KEY_ID]
    vault = Vault(both)
    for old in SEALED_BEFORE.values():
        assert vault.open(bytes.fromhex(old), CONTEXT) == b"secret"
    sealed = vault.seal(b"secret", CONTEXT)
    assert vault.opener(sealed, CONTEXT) == NEW_ID and vault.is_fresh(sealed)
    assert Vault(NEW).open(sealed, CONTEXT) == b"secret"
    with pytest.raises(VaultError):
        Vault(KEY).open(sealed, CONTEXT)


def test_a_line_that_is_no_key_is_named_by_its_number_and_not_shown() -> None:
    with pytest.raises(VaultError) as failure:
        decode_master_key(line(KEY) + b"# a comment\nc2hvcnQ=\n", "/etc/master.key")
    assert str(failure.value).startswith("/etc/master.key, line 3, is not a master key")
    assert "c2hvcnQ=" not in str(failure.value)


def test_one_that_runs_reads_the_file_again_for_a_secret_that_it_can_not_open(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    running = Vault(key_file(path, KEY))
    key_file(path, NEW, KEY)
    sealed = Vault(NEW).seal(b"secret", CONTEXT)
    assert running.open(sealed, CONTEXT) == b"secret"
    assert repr(running) == f"<Vault {NEW_ID} {KEY_ID}>"
    # and a key that was taken out does not open any more
    key_file(path, NEW)
    assert running.seal(b"secret", CONTEXT)
    with pytest.raises(VaultError):
        running.open(bytes.fromhex(SEALED_BEFORE[2]), CONTEXT)


def test_the_file_is_not_read_for_each_of_a_thousand_secrets(tmp_path: Path) -> None:
    path, now_s = tmp_path / "master.key", [100.0]
    running = Vault(key_file(path, KEY), clock=lambda: now_s[0])
    sealed = Vault(NEW).seal(b"secret", CONTEXT)
    with pytest.raises(VaultError):
        running.open(sealed, CONTEXT)
    key_file(path, NEW, KEY)
    now_s[0] += READ_AGAIN_S - 0.1
    with pytest.raises(VaultError):
        running.open(sealed, CONTEXT)
    now_s[0] += 0.1
    assert running.open(sealed, CONTEXT) == b"secret"


def test_who_seals_uses_the_key_that_is_first_in_the_file_now(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    running = Vault(key_file(path, KEY))
    key_file(path, NEW, KEY)
    assert running.opener(running.seal(b"secret", CONTEXT), CONTEXT) == NEW_ID
    # without the file nobody knows what others can open
    path.unlink()
    with pytest.raises(VaultError, match="can't read the master key"):
        running.seal(b"secret", CONTEXT)


def test_while_the_file_is_away_or_broken_what_is_known_still_opens(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    running = Vault(key_file(path, KEY))
    path.write_bytes(b"broken")
    with pytest.raises(VaultError, match=r"read again just now: .*master\.key is not a master key"):
        running.open(Vault(NEW).seal(b"secret", CONTEXT), CONTEXT)
    assert running.open(bytes.fromhex(SEALED_BEFORE[2]), CONTEXT) == b"secret"


def test_a_lost_key_is_named_with_what_is_lost_and_what_to_do() -> None:
    here = MasterKey((KEY,), "/etc/master.key")
    with pytest.raises(VaultError) as failure:
        Vault(here).open(Vault(NEW).seal(b"secret", CONTEXT), CONTEXT)
    said = str(failure.value)
    assert f"sealed with master key {NEW_ID}" in said and f"/etc/master.key holds {KEY_ID}" in said
    assert "so are the .p8 keys and certificates that it sealed, and nothing else" in said
    assert "revoke those credentials, and add them anew" in said and "\n" not in said


def test_a_record_that_does_not_open_with_its_own_key_is_said_to_be_damaged() -> None:
    sealed = Vault(KEY).seal(b"secret", CONTEXT)
    with pytest.raises(VaultError, match=f"with master key {KEY_ID}, which is here: its record is damaged"):
        Vault(KEY).open(sealed[:-1] + bytes([sealed[-1] ^ 1]), CONTEXT)
