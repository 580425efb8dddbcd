"""Programs of this tree that run as processes of their own, wherever their caller stands."""

import os
import sys
from pathlib import Path
from typing import Final

TOP: Final = Path(__file__).resolve().parents[1]


def program(module: str, *words: str) -> list[str]:
    """The command that runs a module with the Python that runs this."""
    return [sys.executable, "-m", module, *words]


def environment() -> dict[str, str]:
    """This process's own, in which the modules of this tree are found first."""
    path = os.pathsep.join(filter(None, (str(TOP), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}
