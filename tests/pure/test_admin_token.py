"""The admin token: made once, read by its owner only, and recognised whole."""

from pathlib import Path

import pytest

from engine.admin.options import AdminOptions
from engine.admin.token import AdminToken, checked, read_admin_token
from runtime.options import OptionError

SECRET = "clarion-admin_" + "t" * 43


def test_a_missing_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "admin.token"
    token = read_admin_token(path, create=True)
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["admin.token"]
    assert token.is_shown_as(text.strip()) and token.name == "admin.token"
    assert text.strip() not in repr(token)
    again = read_admin_token(path, create=True)
    assert again.is_shown_as(text.strip()) and path.read_text() == text
    other = read_admin_token(tmp_path / "other.token", create=True)
    assert not other.is_shown_as(text.strip())


def test_only_the_whole_token_is_taken() -> None:
    token = AdminToken(SECRET, "admin.token")
    assert token.is_shown_as(SECRET)
    for shown in ("", SECRET[:-1], SECRET + "t", SECRET.upper(), "u" + SECRET[1:], "\udcff", "é"):
        assert not token.is_shown_as(shown)


@pytest.mark.parametrize(
    "text", ["", "short", "t" * 31, "t" * 257, "t" * 40 + " t", "é" * 40, "t" * 40 + "\0"]
)
def test_what_is_no_token_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(
        OptionError, match=r"\$CLARION_ADMIN_TOKEN is no token: it must be 32 to 256"
    ) as refused:
        checked(text, "$CLARION_ADMIN_TOKEN", "CLARION_ADMIN_TOKEN")
    assert not text.strip() or text not in str(refused.value)


def test_space_around_a_token_is_not_a_part_of_it() -> None:
    assert checked(f"\n {SECRET}\r\n", "the file", "file").is_shown_as(SECRET)


def test_a_file_that_was_named_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--admin-token-file .*none can't be read: No such file"):
        read_admin_token(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OptionError, match=r"--admin-token-file .* can't be"):
        read_admin_token(tmp_path / "file" / "admin.token", create=True)


@pytest.mark.parametrize(
    ("bind", "host", "port"),
    [("127.0.0.1:8081", "127.0.0.1", 8081), ("[::1]:0", "::1", 0), ("a.b:1", "a.b", 1)],
)
def test_an_address_is_a_host_and_a_port(bind: str, host: str, port: int) -> None:
    options = AdminOptions.of("redis://x", bind)
    assert (options.bind_host, options.bind_port) == (host, port)


@pytest.mark.parametrize(
    "bind", ["8081", ":8081", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"]
)
def test_what_is_no_address_is_told_with_one_that_is(bind: str) -> None:
    with pytest.raises(OptionError, match=r"--admin-bind is no HOST:PORT; write it as 127.0.0.1:8081"):
        AdminOptions.of("redis://x", bind)
