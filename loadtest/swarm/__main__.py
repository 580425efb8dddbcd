"""``scripts/locust``: a gateway on this machine, Locust's load on it, a summary; words behind ``--`` go to Locust."""

import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import orjson
from cyclopts import App, Parameter

from loadtest.bench import machine
from loadtest.swarm.run import NothingBegun, SwarmOptions, run

app: Final = App(
    name="locust",
    help="Load on a whole gateway with Locust, against a sink that looks for every accepted push. Ends with 1 if a "
    "request failed or a push was lost. What stands behind -- is given to Locust as it is.",
)

_OPTIONS: Final = SwarmOptions()


@app.default
def _run(
    *locust_options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    options: SwarmOptions = _OPTIONS,
    json: Annotated[Path | None, Parameter(name="--json", help="Write the result to this file.")] = None,
) -> int:
    facts = {**machine.facts(), "command": shlex.join(["scripts/locust", *sys.argv[1:]])}
    facts["packages"]["locust"] = version("locust")
    try:
        result = run(options, locust_options)
    except NothingBegun as error:
        print(f"locust: {error}", file=sys.stderr)
        return 1
    said = result.pop("said")
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        whole = {"benchmark": "locust", **result, "machine": facts}
        json.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2) + b"\n")
    print("\n".join(said))
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
