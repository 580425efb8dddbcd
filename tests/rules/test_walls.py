"""The walls: who may import whom, read from the source with `ast`.

A wall is a row of the table below. Every import counts, wherever it stands: at the top, in a function,
under TYPE_CHECKING, relative, or spelled as a string for `import_module`. Pure code is also followed
through our own modules, since a pure module that imports an impure one is not pure.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("engine", "ingest", "runtime", "shards", "loadtest", "tuning")

CLOCKS_AND_CHANCE = ("time", "random", "secrets")
IO = ("asyncio", "socket", "ssl", "redis", "uvloop", "aiohttp")


@dataclass(frozen=True)
class Wall:
    """Modules that `inside` matches import nothing of `refused`; `through` follows our own modules."""

    name: str
    inside: str
    refused: tuple[str, ...]
    through: bool = False


WALLS = [
    Wall("runtime is the bedrock", r"runtime(\.|$)", ("engine", "ingest", "shards", "loadtest", "tuning")),
    Wall("shards is the ground", r"shards(\.|$)", ("engine", "ingest", "loadtest", "tuning")),
    Wall("ingest does not know the engine", r"ingest(\.|$)", ("engine", "loadtest", "tuning")),
    # A fault of the codec must not cancel itself out against a copy of itself.
    Wall("the load test does not use the codec", r"loadtest(\.|$)", ("engine.http2",)),
    Wall(
        "only the top floor imports everything",
        r"engine(?!\.(cli|__main__))(\.|$)",
        ("ingest", "loadtest", "tuning"),
    ),
    Wall(
        "the pure is pure",
        r"(engine\.(http2|apns|policy)|ingest\.(admission|rate)|shards\.placement)(\.|$)",
        (*CLOCKS_AND_CHANCE, *IO),
        through=True,
    ),
    Wall(
        "the supervisor forks, so it has no threads, loops or clients",
        r"engine\.supervisor(\.|$)",
        ("asyncio", "uvloop", "redis", "threading", "concurrent", "multiprocessing"),
        through=True,
    ),
]


def is_under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imported_by(module: str, source: str, *, is_package: bool = False) -> set[str]:
    """Full names of all that a source imports. `from a import b` counts as a and as a.b."""
    package = module if is_package else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                names.update(alias.name for alias in aliases)
            case ast.ImportFrom(module=origin, names=aliases, level=level):
                above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*above, *([origin] if origin else [])])
                names.update((base, *(f"{base}.{alias.name}" for alias in aliases)))
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module")
                | ast.Attribute(attr="__import__" | "import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                names.add(name)
    return names


def read_modules(root: Path) -> dict[str, set[str]]:
    """Every module of ours, and what it imports."""
    modules: dict[str, set[str]] = {}
    for floor in FLOORS:
        for path in sorted((root / floor).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            modules[name] = imported_by(name, path.read_text(), is_package=is_package)
    return modules


def reached(module: str, modules: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """(by whom, what) for everything that a module imports, directly or through modules of ours."""
    seen, waiting = {module}, [module]
    while waiting:
        by = waiting.pop()
        for name in sorted(modules[by]):
            yield by, name
            if name in modules and name not in seen:
                seen.add(name)
                waiting.append(name)


def breaches(wall: Wall, modules: Mapping[str, set[str]]) -> list[str]:
    """One line for each import that a wall refuses."""
    found: list[str] = []
    for module in modules:
        if not re.match(wall.inside, module):
            continue
        imports: Iterable[tuple[str, str]] = ((module, name) for name in sorted(modules[module]))
        for by, name in reached(module, modules) if wall.through else imports:
            if any(is_under(name, refused) for refused in wall.refused):
                found.append(f"{module} imports {name}" + (f" through {by}" if by != module else ""))
    return found


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: wall.name.replace(" ", "-"))
def test_the_wall_stands(wall: Wall) -> None:
    modules = read_modules(ROOT)
    assert any(re.match(wall.inside, module) for module in modules), "the wall surrounds nothing"
    assert breaches(wall, modules) == []


@pytest.mark.parametrize(
    ("wall", "module", "source"),
    [
        (0, "runtime.listening", "from shards.errors import StoreError"),
        (1, "shards.queue", "from engine import cli"),
        (1, "shards.queue", "def late():\n    import ingest.app"),
        (1, "shards.queue", "import importlib\nimportlib.import_module('engine.link')"),
        (2, "ingest.app", "from engine.policy.restart import EXIT_OK"),
        (2, "ingest.app", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import engine"),
        (3, "loadtest.simulator.server", "from engine import http2"),
        (3, "loadtest.bench.drain", "import engine.http2.connection as codec"),
        (4, "engine.worker.sender", "import ingest"),
        (4, "engine.worker.client", "import loadtest.sink"),
        (5, "engine.http2.frames", "import asyncio"),
        (5, "engine.policy.retry", "from time import monotonic"),
        (5, "engine.apns.bearer", "import secrets"),
        (5, "ingest.admission", "import redis.asyncio"),
        (5, "ingest.rate", "import time"),
        (5, "shards.placement", "from random import choice"),
        (5, "engine.policy.routing", "from ..link import pool"),
        (5, "engine.policy.routing", "from . import clocked"),
        (6, "engine.supervisor.child", "import threading"),
        (6, "engine.supervisor.child", "from engine.link.pool import Pool"),
    ],
)
def test_a_breach_of_the_wall_is_found(wall: int, module: str, source: str) -> None:
    modules = {
        module: imported_by(module, source),
        "engine.link.pool": {"asyncio"},
        "engine.policy.clocked": {"time"},
    }
    assert [line for line in breaches(WALLS[wall], modules) if line.startswith(module)]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("engine.cli", "import ingest.app, loadtest.bench, engine.http2"),
        ("engine.cli_tenant", "import ingest.app"),
        ("loadtest.bench.drain", "from engine import cli, http2x"),
        ("engine.policy.retry", "import timeit_of_ours, enum\nfrom shards.job import Job"),
        ("ingest.admissions", "import asyncio"),
    ],
)
def test_what_no_wall_refuses_is_let_through(module: str, source: str) -> None:
    modules = {module: imported_by(module, source)}
    assert [line for wall in WALLS for line in breaches(wall, modules)] == []


def test_relative_imports_are_resolved() -> None:
    assert "engine.link.pool" in imported_by("engine.policy.routing", "from ..link import pool")
    assert "engine.policy.clocked" in imported_by("engine.policy.routing", "from .clocked import now")
    assert "engine.link" in imported_by("engine.policy", "from .. import link", is_package=True)
