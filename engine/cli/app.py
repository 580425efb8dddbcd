"""``clarion``: the commands, and what a person sees when one fails.

A fault of the surroundings (no Redis, a port in use, a wrong file) is one line on stderr that says what to do, and
exit code 1; a wrong option is exit code 2. Only a fault of ours shows a traceback.
"""

import sys
from typing import Final

from cyclopts import App, CycloptsError
from cyclopts.config import Env

from engine.cli.config import clarion_toml
from engine.cli.errors import CommandError, in_options
from engine.cli.log import log_to_stderr
from runtime.listening import ListenError
from runtime.options import OptionError
from runtime.version import installed_version
from shards.administration.checks import ActionRefused
from shards.errors import StoreError
from shards.private_redis.errors import PrivateServerError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

app: Final = App(
    name="clarion",
    version=installed_version,
    help="""A multi-tenant gateway to Apple's push service.

    Options may also be given as CLARION_* variables (CLARION_REDIS_URL) or as keys of ./clarion.toml; a flag wins
    over the variable, the variable over the file.

    A first push, in three commands:

        clarion run
        clarion tenant create acme --team-id A1B2C3D4E5 --key-id F6G7H8I9J0 \\
            --key-file AuthKey.p8 --topic com.acme.app
        clarion send --api-key clarion_… --topic com.acme.app \\
            --device-token 00fc13ad… --alert "Hello"
    """,
    help_format="markdown",
    config=[Env("CLARION_", command=False), clarion_toml],
)
# by name: what a command needs is imported when it is called; a list of tenants needs no web server
_COMMANDS: Final = {
    "run": "run:run",
    "engine": "run:engine",
    "ingest": "run:ingest",
    "admin": "run:admin",
    "tenant": "tenant:app",
    "application": "application:app",
    "credential": "credential:app",
    "key": "key:app",
    "vault": "vault:app",
    "dead": "dead:app",
    "tune": "tune:app",
    "send": "send:send",
    "demo": "demo:demo",
    "simulate": "simulate:simulate",
}
for _name, _place in _COMMANDS.items():
    app.command(f"engine.cli.{_place}", name=_name)


def main() -> None:
    """The console script."""
    log_to_stderr()
    _import_what_is_listed(sys.argv[1:])
    try:
        code = app(exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(EXIT_USAGE)
    except OptionError as error:
        print(f"clarion: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except ActionRefused as refused:
        print(f"clarion: {in_options(refused)}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except (CommandError, ListenError, PrivateServerError, StoreError) as error:
        print(f"clarion: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _import_what_is_listed(words: list[str]) -> None:
    """A list of commands shows the first line of each, so those that it lists are imported before it is shown."""
    if words == ["--version"]:
        return
    group = app
    for word in words:
        if word.startswith("-"):
            break
        if word not in group:
            return
        group = group[word]
    for name in group:
        group[name]
