"""The file of the master key: a new key in front, old ones out, and nothing lost on the way."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from shards import master_key_file
from shards.errors import VaultError
from shards.master_key_file import put_back, retire, rotate
from shards.vault import read_master_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one key."""
    made = tmp_path / "data" / "master.key"
    read_master_key(made, create=True)
    return made


def test_a_new_key_comes_first_and_the_old_one_stays(path: Path) -> None:
    [old] = read_master_key(path, create=False).ids
    rotated = rotate(path)
    assert rotated.ids[1:] == [old] and rotated.ids[0] != old
    assert read_master_key(path, create=False) == rotated
    assert rotate(path).ids[1:] == rotated.ids
    assert os.listdir(path.parent) == ["master.key"]


def test_old_keys_are_taken_out_with_what_is_written_about_them_and_can_be_put_back(path: Path) -> None:
    path.write_bytes(b"# of the gateway in Oslo\n" + path.read_bytes().rstrip())
    for _ in range(2):
        rotate(path)
    three = read_master_key(path, create=False)
    before = path.read_text()
    lines = retire(path, three.ids[1:])
    assert read_master_key(path, create=False).ids == three.ids[:1]
    assert "in Oslo" in path.read_text()
    assert not any(each in path.read_text() for each in three.ids[1:])
    put_back(path, lines)
    assert read_master_key(path, create=False) == three
    assert sorted(path.read_text().split()) == sorted(before.split())


def test_the_last_key_can_not_be_taken_out(path: Path) -> None:
    text = path.read_bytes()
    with pytest.raises(VaultError, match="is not a master key"):
        retire(path, read_master_key(path, create=False).ids)
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    ("before", "after"), [(0o600, 0o600), (0o400, 0o600), (0o640, 0o640), (0o660, 0o640), (0o644, 0o640)]
)
def test_no_one_may_read_it_who_could_not_before_and_others_never(
    path: Path, before: int, after: int
) -> None:
    path.chmod(before)
    rotate(path)
    assert stat.S_IMODE(path.stat().st_mode) == after


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to somebody else")
def test_its_owner_stays_who_it_was_so_that_the_gateway_can_read_it(path: Path) -> None:
    os.chown(path, 1234, 2345)
    rotate(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


def test_what_a_link_names_is_changed_and_not_the_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    rotated = rotate(link)
    assert link.is_symlink()
    assert read_master_key(path, create=False).ids == rotated.ids


def test_of_rotations_at_the_same_moment_none_loses_its_key(path: Path) -> None:
    rotations = 8
    [old] = read_master_key(path, create=False).ids
    together = Barrier(rotations)

    def start() -> str:
        together.wait()
        return rotate(path).ids[0]

    with ThreadPoolExecutor(rotations) as threads:
        started = [threads.submit(start) for _ in range(rotations)]
    made = {future.result() for future in started}
    found = read_master_key(path, create=False).ids
    assert len(made) == rotations and set(found) == {*made, old}
    assert found[-1] == old


def test_whoever_reads_meanwhile_finds_a_whole_file(path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        rotating = threads.submit(lambda: [rotate(path) for _ in range(50)])
        while not rotating.done():
            read_master_key(path, create=False)
    assert len(rotating.result()[-1].ids) == 51


def test_a_change_that_fails_half_way_leaves_all_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(master_key_file.os, "fsync", full)
    with pytest.raises(VaultError, match=f"can't change the master key {path}: No space left on device"):
        rotate(path)
    assert path.read_bytes() == text and os.listdir(path.parent) == ["master.key"]


def test_what_is_no_master_key_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with pytest.raises(VaultError, match="No such file"):
        rotate(path)
    assert not path.exists()
    path.write_bytes(b"hello\n")
    with pytest.raises(VaultError, match="is not a master key"):
        rotate(path)
    assert path.read_bytes() == b"hello\n"


def test_a_key_says_in_a_comment_which_it_is_and_since_when(path: Path) -> None:
    rotated = rotate(path)
    first = path.read_text().splitlines()[0]
    written, _, comment = first.partition("  # ")
    assert base64.b64decode(written) == rotated.keys[0]
    assert comment.startswith(f"{rotated.ids[0]}, made 2")
