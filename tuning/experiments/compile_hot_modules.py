"""Experiment 0006: a copy of the project in which the hot modules are compiled, to be measured beside the original.

    python -m tuning.experiments.compile_hot_modules --out DIR [--compiler mypyc|cython]

The copy's source is the same. What is compiled lies beside it and is imported in its place; without it, Python runs the
source. Needs a C compiler, and for the second one ``pip install cython``.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

from cyclopts import App

ROOT: Final = Path(__file__).resolve().parents[2]
COPIED: Final = ("engine", "ingest", "shards", "loadtest", "tests", "tuning", "pyproject.toml", "README.md")

Compiler = Literal["mypyc", "cython"]

HOT: Final = (
    "engine/http2/*.py",
    "engine/apns/headers.py",
    "engine/apns/outcomes.py",
    "engine/worker/decoding.py",
    "engine/worker/fates.py",
    "engine/worker/hand.py",
    "engine/worker/settler.py",
    "engine/link/link.py",
    "engine/link/pool.py",
    "engine/policy/*.py",
    "shards/job.py",
    "shards/queue.py",
    "shards/redis.py",
)

REFUSED: Final[dict[Compiler, dict[str, str]]] = {
    "mypyc": {
        "engine/policy/growth.py": "a float variable is given an int",
        "shards/redis.py": "asynchronous generators",
        # these compile, without a word, into Structs that are neither frozen nor array-like
        "engine/policy/diagnosis.py": "keywords of a class",
        "engine/policy/restart.py": "keywords of a class",
        "shards/job.py": "keywords of a class",
    },
    "cython": {
        "engine/policy/diagnosis.py": "an assignment in the guard of a case",
    },
}

COMMANDS: Final[dict[Compiler, tuple[str, ...]]] = {
    "mypyc": ("-m", "mypyc"),
    "cython": ("-m", "Cython.Build.Cythonize", "--inplace", "-3", "--force"),
}


def hot_modules(root: Path, compiler: Compiler) -> list[str]:
    """The files that the compiler takes, relative to ``root``."""
    found = sorted(
        str(path.relative_to(root))
        for pattern in HOT
        for path in root.glob(pattern)
        if path.name != "__init__.py"
    )
    return [path for path in found if path not in REFUSED[compiler]]


def copy_project(out: Path) -> None:
    """What the benchmarks and the tests need, without caches."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, out / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy2(source, out / name)


app = App(help="Copy the project and compile the modules of the hot path.", version_flags=[])


@app.default
def main(*, out: Path, compiler: Compiler = "mypyc") -> None:
    """``out`` must not exist yet."""
    out = out.resolve()
    out.mkdir(parents=True)
    copy_project(out)
    modules = hot_modules(out, compiler)
    environment = {**os.environ, "MYPYC_OPT_LEVEL": "3", "CFLAGS": "-O3"}
    command = [sys.executable, *COMMANDS[compiler], *modules]
    subprocess.run(command, cwd=out, env=environment, check=True, stdout=sys.stderr)
    print(f"{len(modules)} modules compiled in {out}; not compiled:")
    for path, reason in REFUSED[compiler].items():
        print(f"  {path}: {reason}")


if __name__ == "__main__":
    app()
