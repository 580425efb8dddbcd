"""``clarion.toml``: one flat table for all commands.

Each command takes the keys that are options of its own. A key that is an option of no command is an error, so that
a misspelt option does not pass in silence.
"""

import difflib
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from cyclopts import App, CycloptsError
from cyclopts.argument import ArgumentCollection
from cyclopts.config import Dict

from engine.cli.options import AdminParams, EngineParams, IngestParams, MetricsParams, StoreParams

FILE: Final = Path("clarion.toml")
KEYS: Final = frozenset(
    field.name.replace("_", "-")
    for params in (StoreParams, EngineParams, IngestParams, AdminParams, MetricsParams)
    for field in fields(params)
)


def clarion_toml(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """A configuration source for cyclopts."""
    try:
        table = tomllib.loads(FILE.read_text())
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CycloptsError(msg=f"{FILE.absolute()} can't be read: {error}") from error
    given: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in KEYS:
            near = difflib.get_close_matches(name, KEYS, 1)
            hint = f"; did you mean {near[0]}?" if near else f". Options: {', '.join(sorted(KEYS))}"
            raise CycloptsError(msg=f"{FILE.absolute()}: there is no option {key!r}{hint}")
        given[name] = value
    Dict(given, source=str(FILE.absolute()), allow_unknown=True, use_commands_as_keys=False)(
        app, commands, arguments
    )
