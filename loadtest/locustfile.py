"""Load on a running gateway, with Locust: ``locust -f loadtest/locustfile.py --host URL``, from the top of the tree.

``scripts/locust`` sets up a gateway on this machine and starts this file with all that it needs. The users are in
``loadtest.swarm.users``; here they meet Locust's events, also when its work is divided among processes.
"""

import json
import sys
from argparse import Namespace
from io import FileIO
from pathlib import Path
from typing import Any

from locust import LoadTestShape, events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.swarm.options import DEFAULT_HOST, OptionError, add_options, tenants_of, validate
from loadtest.swarm.shapes import Crowd, Shape, crowd_at
from loadtest.swarm.tally import lines
from loadtest.swarm.users import ANSWER_S, DESK, BatchTenant, MixedTenant, PushingUser, SinglePushTenant

__all__ = ["BatchTenant", "MixedTenant", "NamedShape", "SinglePushTenant"]

PushingUser.host = DEFAULT_HOST


class NamedShape(LoadTestShape):
    """The shape that ``--shape`` names; Locust's own options, and the form of its web page, say how much of it."""

    use_common_options = True

    def tick(self) -> Crowd | None:
        """Asked once a second."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        return crowd_at(
            Shape(options.shape),
            self.get_run_time(),
            options.num_users or 1,
            options.spawn_rate or 1.0,
            options.run_time,
        )


@events.init_command_line_parser.add_listener
def _add_options(parser: Any) -> None:
    add_options(parser)


@events.init.add_listener
def _begin(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    try:
        validate(options)
        DESK.tenants = list(tenants_of(options))
    except OptionError as error:
        # not an exception that Locust would log with its traceback
        sys.exit(f"locust: {error}")
    # answers that are on their way when a run ends are waited for, or their pushes' fates would be unknown
    environment.stop_timeout = environment.stop_timeout or ANSWER_S
    if options.push_log:
        DESK.log = FileIO(options.push_log, "ab")


@events.report_to_master.add_listener
def _tell_master(client_id: str, data: dict[str, Any]) -> None:
    data["clarion"] = DESK.tally.told()
    DESK.tally.clear()


@events.worker_report.add_listener
def _hear_worker(client_id: str, data: dict[str, Any]) -> None:
    DESK.tally.merge(data["clarion"])


@events.quitting.add_listener
def _tell(environment: Environment, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    # of all runs that were started from the web page, while Locust's own statistics begin anew with each
    for line in lines(DESK.tally.told()):
        print(line)
    options = environment.parsed_options
    assert options is not None
    if options.tally_file:
        Path(options.tally_file).write_text(json.dumps(_summary(environment, options), indent=2) + "\n")


def _summary(environment: Environment, options: Namespace) -> dict[str, Any]:
    stats = environment.stats
    return {
        **DESK.tally.told(),
        "processes": options.expect_workers if isinstance(environment.runner, MasterRunner) else 1,
        "shape": options.shape,
        "requests_by_name": {
            entry.name: {
                "requests": entry.num_requests,
                "failed": entry.num_failures,
                "per_s": round(entry.total_rps, 1),
                **{f"p{share:g}_ms": _ms(entry, share) for share in (50, 90, 99, 99.9)},
                "most_ms": round(entry.max_response_time, 1),
            }
            for entry in (*stats.entries.values(), stats.total)
        },
    }


def _ms(entry: Any, share: float) -> float:
    return float(entry.get_response_time_percentile(share / 100))
