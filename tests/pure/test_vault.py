"""Secrets at rest: what opens, what does not, and what is said then."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from shards.errors import VaultError
from shards.tenant import credential_context
from shards.vault import KEY_BYTES, Vault, decode_master_key, read_master_key

KEY = bytes(range(32))
CONTEXT = credential_context("acme", "KEY0000001")


def test_a_secret_opens_in_its_context() -> None:
    sealed = Vault(KEY).seal(b"-----BEGIN PRIVATE KEY-----", CONTEXT)
    assert b"PRIVATE" not in sealed
    assert Vault(KEY).open(sealed, CONTEXT) == b"-----BEGIN PRIVATE KEY-----"


def test_a_secret_that_the_first_version_sealed_still_opens() -> None:
    sealed = bytes.fromhex(
        "01000000000000000000000000"  # version 1 and the nonce
        "7dd9d6acd058707c80238e2073dc77fd6f64fe978954"
    )
    assert Vault(KEY).open(sealed, CONTEXT) == b"secret"


def test_no_two_seals_of_a_secret_are_alike() -> None:
    vault = Vault(KEY)
    assert len({vault.seal(b"secret", CONTEXT) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "context", [credential_context("zeta", "KEY0000001"), credential_context("acme", "KEY0000002"), ""]
)
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
        Vault(KEY).open(b"\x02" + bytes(40), CONTEXT)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_master_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(VaultError, match=f"has {length} bytes"):
        Vault(bytes(length))


def test_a_vault_shows_nothing_of_its_key() -> None:
    assert repr(Vault(KEY)) == "<Vault>"


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "data" / "master.key"
    before = os.umask(0)
    try:
        key = read_master_key(path, create=True)
    finally:
        os.umask(before)
    assert len(key) == KEY_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["master.key"]


def test_later_starts_read_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = read_master_key(path, create=True)
    assert read_master_key(path, create=True) == key
    assert read_master_key(path, create=False) == key


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    assert read_master_key(tmp_path / "a", create=True) != read_master_key(tmp_path / "b", create=True)


def test_first_starts_at_the_same_moment_end_with_one_key(tmp_path: Path) -> None:
    starts = 8
    for attempt in range(20):
        path = tmp_path / str(attempt) / "master.key"
        together = Barrier(starts)

        def start(path: Path = path, together: Barrier = together) -> bytes:
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


@pytest.mark.parametrize("around", [b"%b", b"%b\n", b"  %b \r\n"])
def test_white_space_around_the_key_does_not_matter(around: bytes) -> None:
    assert decode_master_key(around % base64.b64encode(KEY), "here") == KEY
