"""``clarion tune`` as an SRE meets it: on this host, with a Redis, without rights."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_py
from test_cli import clarion, one_line


def tune(*words: str, cwd: Path, code: int = 0) -> str:
    said, _ = clarion("tune", *words, cwd=cwd, code=code)
    return said


def test_a_redis_is_compared_and_what_is_wrong_is_told_with_the_command(
    redis_url: str, tmp_path: Path
) -> None:
    with redis_py.Redis.from_url(redis_url) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        said = tune("check", "--redis-url", redis_url, cwd=tmp_path, code=1)
        assert re.search(
            r'^change +maxmemory-policy is allkeys-lru; CONFIG SET maxmemory-policy "noeviction"',
            said,
            re.MULTILINE,
        )
        redis.config_set("maxmemory-policy", "noeviction")
        said, _ = clarion("tune", "check", "--redis-url", redis_url, cwd=tmp_path, code=_code(said))
    assert re.search(r"^good +maxmemory-policy is noeviction$", said, re.MULTILINE)


def _code(said: str) -> int:
    """What a check ends with on this host, but for the one setting."""
    changes = [line for line in said.splitlines() if line.startswith("change") and "maxmemory" not in line]
    return int(bool(changes))


def test_without_rights_everything_is_told_and_nothing_is_done(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    tree = Path(__file__).resolve().parents[2]
    # whatever is imported is imported first: the interpreter may lie where nobody else may look
    program = """
import contextlib, io, os, sys
from engine.cli.app import app
from engine.cli.errors import CommandError
with contextlib.redirect_stdout(io.StringIO()):
    app(["tune", "check"], exit_on_error=False, result_action="return_value")
    app(["tune", "apply"], exit_on_error=False, result_action="return_value")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    code = app(sys.argv[1:], exit_on_error=False, result_action="return_value")
except CommandError as error:
    sys.exit(str(error))
sys.exit(code)
"""
    for words, code in ((["tune", "check", "--profile", "large"], 1), (["tune", "apply", "--yes"], 1)):
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=tree,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        if "check" in words:
            assert "Changing these needs root" in done.stdout and "net.core.somaxconn" in done.stdout
        else:
            assert "this needs root" in done.stderr and "written" not in done.stdout


def test_apply_shows_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    said = tune("apply", "--profile", "large", cwd=tmp_path)
    assert "/etc/sysctl.d/90-clarion.conf" in said and "Nothing was changed" in said
    assert not Path("/etc/sysctl.d/90-clarion.conf").exists()


# with a network of its own, where sysctls may be set, and without what is the host's: its files and its vm.*
APART = """
set -e
mount --make-rprivate /
mkdir "$1"
cp /proc/sys/vm/overcommit_memory /proc/sys/vm/swappiness "$1"
mount --bind "$1" /proc/sys/vm
mount -t tmpfs none /etc/sysctl.d
mount -t tmpfs none /etc/security/limits.d
echo "# by hand" > /etc/sysctl.d/90-clarion.conf
sysctl -q net.core.somaxconn=128
shift
"$@"
sysctl -n net.core.somaxconn
cat /etc/sysctl.d/90-clarion.conf.*.bak
"""


def test_apply_writes_the_files_keeps_the_old_ones_and_sets_the_sysctls(tmp_path: Path) -> None:
    apart = ["unshare", "--mount", "--net"]
    if not (Path("/etc/sysctl.d").is_dir() and Path("/etc/security/limits.d").is_dir()):
        pytest.skip("this system has no such folders")
    if os.geteuid() != 0 or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root can, where it may make namespaces")
    words = [sys.executable, "-m", "engine", "tune", "apply", "--yes"]
    done = subprocess.run(
        [*apart, "sh", "-c", APART, "sh", str(tmp_path / "vm"), *words],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "limits.d/90-clarion.conf: written" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["4096", "# by hand"]
    assert (tmp_path / "vm" / "overcommit_memory").read_text() == "1\n"


def test_a_size_is_told_in_the_words_of_the_options(tmp_path: Path) -> None:
    said = tune("size", "--rate", "50000", "--rtt", "80ms", "--payload", "300", cwd=tmp_path)
    for name in (
        "--workers",
        "--ingest-processes",
        "--links-max",
        "descriptors of a worker",
        "memory of Redis",
    ):
        assert re.search(rf"^{name}.* +\d+ ", said, re.MULTILINE), name
    _, error = clarion("tune", "size", "--rate", "5", "--rtt", "soon", cwd=tmp_path, code=2)
    assert "--rtt is 'soon'; write it as 80ms or 0.08s" in one_line(error)
    _, error = clarion("tune", "size", "--rate", "5", "--rtt", "80", cwd=tmp_path, code=2)
    assert "--rtt is '80'; write it as 80ms or 0.08s" in one_line(error)


def test_a_profile_is_shown_as_a_file(tmp_path: Path) -> None:
    sysctls = tune("show", cwd=tmp_path)
    assert "net.core.somaxconn = 4096" in sysctls and "\n# measured: " in sysctls
    assert "[Service]" in tune("show", "--format", "systemd", cwd=tmp_path)
    assert "nofile" in tune("show", "--format", "limits", cwd=tmp_path)
    assert 'maxmemory-policy "noeviction"' in tune("show", "--format", "redis", cwd=tmp_path)
