"""``clarion run``, ``engine`` and ``ingest``: tables of children for the supervisor.

Everything that can be wrong is found before the first fork: options, master key, authorities, the port, the private
redis-server's directory.
"""

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from engine.cli.options import EngineParams, IngestParams, StoreParams
from engine.options import EngineOptions
from engine.supervisor.pulse import ChildContext
from engine.supervisor.rows import Row
from engine.supervisor.supervisor import Supervisor
from engine.worker.worker import run_worker
from ingest.options import IngestOptions
from ingest.serve import listen, serve
from shards.options import OptionError
from shards.private_server import prepare

REDIS_STAGE: Final = 0
WORKER_STAGE: Final = 1
INGEST_STAGE: Final = 2
# above what a child itself allows for draining, so that the supervisor does not cut it short
MARGIN_S: Final = 10.0
REDIS_STOP_S: Final = 30.0

_NO_STORE: Final = StoreParams()
_NO_ENGINE: Final = EngineParams()
_NO_INGEST: Final = IngestParams()


def run(
    *, store: StoreParams = _NO_STORE, engine: EngineParams = _NO_ENGINE, ingest: IngestParams = _NO_INGEST
) -> int:
    """Run the whole gateway: the API, the workers and, without --redis-url, a private redis-server.

    SIGTERM stops it in order: no new requests, pushes under way are answered, the rest stays queued. A second
    SIGTERM hurries. SIGHUP replaces the processes one by one.

    For example:

        clarion run
        clarion run --bind 0.0.0.0:8080 --redis-url redis://10.0.0.5:6379/0 --workers 4
    """
    rows, url, release = _redis(store)
    try:
        rows += _workers(store, engine, url) + _ingests(ingest, url)
        return Supervisor(rows).run()
    finally:
        release()


def engine(*, store: StoreParams = _NO_STORE, engine: EngineParams = _NO_ENGINE) -> int:
    """Run the sending side only: workers that send from a Redis shared with others.

    For example:

        clarion engine --redis-url redis://10.0.0.5:6379/0 --workers 8
    """
    return Supervisor(_workers(store, engine, _shared_redis(store, "engine"))).run()


def ingest(*, store: StoreParams = _NO_STORE, ingest: IngestParams = _NO_INGEST) -> int:
    """Run the API only, in front of a Redis shared with others.

    For example:

        clarion ingest --redis-url redis://10.0.0.5:6379/0 --bind 0.0.0.0:8080 --ingest-processes 4
    """
    return Supervisor(_ingests(ingest, _shared_redis(store, "ingest"))).run()


def _shared_redis(store: StoreParams, command: str) -> str:
    if store.redis_url is None:
        raise OptionError(
            "redis-url",
            f"'clarion {command}' needs one; 'clarion run' can do without, with a Redis of its own",
        )
    return store.redis_url


def _redis(store: StoreParams) -> tuple[list[Row], str, Callable[[], None]]:
    """The rows for Redis (none when there is an URL), its URL, and what to call in the end."""
    if store.redis_url is not None:
        return [], store.redis_url, lambda: None
    server = prepare(store.data_dir, store.redis_fsync)
    row = Row(name="redis", stage=REDIS_STAGE, argv=server.argv, ready=server.ready, grace_s=REDIS_STOP_S)
    return [row], server.url, server.release


def _workers(store: StoreParams, params: EngineParams, redis_url: str) -> list[Row]:
    options = params.options(redis_url)
    if not 1 <= params.workers <= 1_024:
        raise OptionError("workers", f"is {params.workers}; write a number from 1 to 1024")
    master_key = store.master_key(create=True)
    # forked with its children, so that one that is started again has the name of the one that died
    node = os.urandom(4).hex()
    return [
        Row(
            name=f"worker-{number}",
            index=number,
            stage=WORKER_STAGE,
            run=partial(_work, options, master_key, params.workers, node),
            pulsed=True,
            grace_s=options.drain_s + MARGIN_S,
        )
        for number in range(params.workers)
    ]


def _work(options: EngineOptions, master_key: bytes, workers: int, node: str, context: ChildContext) -> int:
    return run_worker(
        options,
        master_key,
        context.index,
        workers,
        node=node,
        pulse=context.pulse,
        lifeline=context.lifeline,
    )


def _ingests(params: IngestParams, redis_url: str) -> list[Row]:
    options = params.options(redis_url)
    if not 1 <= params.ingest_processes <= 1_024:
        raise OptionError("ingest-processes", f"is {params.ingest_processes}; write a number from 1 to 1024")
    listener = listen(options)
    return [
        Row(
            name=f"ingest-{number}",
            index=number,
            stage=INGEST_STAGE,
            run=partial(_ingest, options, listener),
            pulsed=True,
            grace_s=options.grace_s + MARGIN_S,
        )
        for number in range(params.ingest_processes)
    ]


def _ingest(options: IngestOptions, listener: socket.socket, context: ChildContext) -> int:
    return serve(options, listener, pulse=context.pulse, lifeline=context.lifeline)
