"""What each command says of itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App

from engine.cli.app import app


def commands(of: App, *above: str) -> list[tuple[str, ...]]:
    """All that do something, as a person writes them."""
    found = []
    for name in of:
        if not name.startswith("-"):
            below = commands(of[name], *above, name)
            found += below or [(*above, name)]
    return found


COMMANDS = commands(app)


def test_there_are_commands_in_groups_and_alone() -> None:
    assert {("run",), ("send",), ("tenant", "create"), ("tenant", "check"), ("dead", "list")} <= {*COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    app([*command, "--help"], result_action="return_value")
    usage, _, explained = capsys.readouterr().out.partition("\n")
    assert usage.startswith(f"Usage: clarion {' '.join(command)}")
    assert f"clarion {' '.join(command)} " in f"{explained} ".replace("\n", " ")


@pytest.mark.parametrize("group", [(), *sorted({name[:-1] for name in COMMANDS if name[1:]})], ids=" ".join)
def test_the_list_of_commands_has_a_line_for_each(group: tuple[str, ...], tmp_path: Path) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
    ran = subprocess.run(
        [sys.executable, "-m", "engine", *group, "--help"],
        capture_output=True,
        text=True,
        env={**plain, "COLUMNS": "200"},
        cwd=tmp_path,
        check=True,
    )
    listed = {
        words[1]: words[2:-1]
        for words in map(str.split, ran.stdout.splitlines())
        if len(words) > 2 and words[0] == "│"
    }
    below = {name[len(group)] for name in COMMANDS if name[: len(group)] == group}
    assert below and all(listed[name] for name in below)
