"""Every Lua script opens with a comment that says what it is for, its KEYS, its ARGV, what it returns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LUA = Path(__file__).resolve().parents[2] / "shards" / "lua"

_SECTION = re.compile(r"(KEYS|ARGV|returns?)\b", re.IGNORECASE)
# They walk all keys of the server and stop everybody else meanwhile; and on a cluster no script may
# touch a key that it was not given.
_WALKS_ALL_KEYS = re.compile(r"""\bp?call\s*\(?\s*['"](KEYS|SCAN)['"]""", re.IGNORECASE)


def header_of(script: str) -> list[str]:
    """The comment block that a script begins with, after the line that says which engine runs it."""
    lines = script.splitlines()
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    header: list[str] = []
    for line in lines:
        if not line.startswith("--"):
            break
        header.append(line.removeprefix("--").strip())
    return header


def faults_of(script: str) -> list[str]:
    header = header_of(script)
    if not header or not header[0] or _SECTION.match(header[0]):
        return ["does not begin with a comment that names its purpose"]
    faults = [
        f"the header does not name {section}"
        for section in ("KEYS", "ARGV", "returns")
        if not any(re.match(rf"{section}\b", line, re.IGNORECASE) for line in header)
    ]
    code = "\n".join(line.partition("--")[0] for line in script.splitlines())
    faults += [f"uses the command {found}" for found in _WALKS_ALL_KEYS.findall(code)]
    return faults


@pytest.mark.parametrize("path", sorted(LUA.glob("*.lua")), ids=lambda path: path.stem)
def test_a_script_has_its_header(path: Path) -> None:
    assert faults_of(path.read_text()) == []


def test_there_are_scripts_to_look_at() -> None:
    assert list(LUA.glob("*.lua"))


GOOD = """#!lua flags=allow-oom
-- settle: the end of a claim.
-- KEYS[1] the claims    KEYS[2] the fence
-- ARGV[1] claim id
-- returns 1, or 0 if the fence has moved on

return redis.call('HDEL', KEYS[1], ARGV[1]) -- not 'KEYS'
"""


def test_a_good_script_has_no_faults() -> None:
    assert faults_of(GOOD) == []


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("return 1\n", "does not begin with a comment that names its purpose"),
        ("\n" + GOOD, "does not begin with a comment that names its purpose"),
        (GOOD.replace("-- settle: the end of a claim.\n", ""), "does not begin with a comment"),
        (GOOD.replace("-- KEYS[1]", "-- the lists, KEYS[1]"), "the header does not name KEYS"),
        (GOOD.replace("-- ARGV[1]", "--"), "the header does not name ARGV"),
        (GOOD.replace("-- returns 1", "-- 1"), "the header does not name returns"),
        (GOOD + "redis.call('KEYS', '*')\n", "uses the command KEYS"),
        (GOOD + 'redis.pcall ("scan", 0)\n', "uses the command scan"),
    ],
)
def test_a_fault_is_found(bad: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults_of(bad))
