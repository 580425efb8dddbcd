"""``clarion``: the commands, and what a person sees when one fails.

A fault of the surroundings (no Redis, a port in use, a wrong file) is one line on stderr that says what to do, and
exit code 1; a wrong option is exit code 2. Only a fault of ours shows a traceback.
"""

import logging
import sys
from typing import Final

from cyclopts import App, CycloptsError
from cyclopts.config import Env

from engine.cli import dead, demo, run, send, simulate, tenant
from engine.cli.config import clarion_toml
from engine.cli.errors import CommandError
from ingest.serve import ListenError
from shards.errors import StoreError
from shards.options import OptionError
from shards.private_errors import PrivateServerError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

app: Final = App(
    name="clarion",
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
app.command(run.run)
app.command(run.engine)
app.command(run.ingest)
app.command(tenant.app)
app.command(dead.app)
app.command(send.send)
app.command(demo.demo)
app.command(simulate.simulate)


def main() -> None:
    """The console script."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    # one line per task of theirs is not worth reading, and theirs may name URLs
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    try:
        code = app(exit_on_error=False, result_action="return_value")
    except CycloptsError:
        sys.exit(EXIT_USAGE)
    except OptionError as error:
        print(f"clarion: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except (CommandError, ListenError, PrivateServerError, StoreError) as error:
        print(f"clarion: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
