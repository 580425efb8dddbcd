"""``clarion run``, ``engine``, ``ingest`` and ``admin``: tables of children for the supervisor.

Everything that can be wrong is found before the first fork: options, master key, authorities, the ports, the private
redis-server's directory.
"""

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from engine.admin import serve as admin_process
from engine.admin.options import AdminOptions
from engine.admin.token import AdminToken
from engine.cli.options import (
    AdminParams,
    ApnsParams,
    EngineParams,
    IngestMetricsParams,
    IngestParams,
    MetricsParams,
    StoreParams,
)
from engine.observe import serve as metrics_process
from engine.options import EngineOptions
from engine.supervisor.pulse import ChildContext
from engine.supervisor.rows import Row
from engine.supervisor.supervisor import Supervisor
from engine.worker.measures import WORKER
from engine.worker.worker import run_worker
from ingest.measures import INGEST
from ingest.options import IngestOptions
from ingest.serve import serve
from runtime.listening import listen
from runtime.measures import Board, Sheet
from runtime.options import OptionError
from shards.private_redis.server import prepare, running_url
from shards.vault import MasterKey, Vault

REDIS_STAGE: Final = 0
WORKER_STAGE: Final = 1
INGEST_STAGE: Final = 2
ADMIN_STAGE: Final = 2
METRICS_STAGE: Final = 2
# above what a child itself allows for draining, so that the supervisor does not cut it short
MARGIN_S: Final = 10.0
REDIS_STOP_S: Final = 30.0

_NO_STORE: Final = StoreParams()
_NO_ENGINE: Final = EngineParams()
_NO_INGEST: Final = IngestParams()
_NO_ADMIN: Final = AdminParams()
_NO_APNS: Final = ApnsParams()
_NO_METRICS: Final = MetricsParams()
_NO_INGEST_METRICS: Final = IngestMetricsParams()


def run(
    *,
    store: StoreParams = _NO_STORE,
    engine: EngineParams = _NO_ENGINE,
    ingest: IngestParams = _NO_INGEST,
    admin: AdminParams = _NO_ADMIN,
    metrics: MetricsParams = _NO_METRICS,
) -> int:
    """Run the whole gateway: the API, the workers, the admin API and, without --redis-url, a private redis-server.

    SIGTERM stops it in order: no new requests, pushes under way are answered, the rest stays queued. A second
    SIGTERM hurries. SIGHUP replaces the processes one by one.

    For example:

        clarion run
        clarion run --bind 0.0.0.0:8080 --redis-url redis://10.0.0.5:6379/0 --workers 4
    """
    rows, url, release = _redis(store)
    try:
        board = Board()
        rows += _workers(store, engine, url, board) + _ingests(ingest, url, board)
        rows += _admins(store, admin, engine, url) + _watches(metrics, url, board)
        return Supervisor(rows).run()
    finally:
        release()


def engine(
    *,
    store: StoreParams = _NO_STORE,
    engine: EngineParams = _NO_ENGINE,
    admin: AdminParams = _NO_ADMIN,
    metrics: MetricsParams = _NO_METRICS,
) -> int:
    """Run the sending side only, with the admin API: workers that send from a Redis shared with others.

    For example:

        clarion engine --redis-url redis://10.0.0.5:6379/0 --workers 8
    """
    url = _shared_redis(store, "engine")
    board = Board()
    rows = _workers(store, engine, url, board) + _admins(store, admin, engine, url)
    return Supervisor(rows + _watches(metrics, url, board)).run()


def ingest(
    *,
    store: StoreParams = _NO_STORE,
    ingest: IngestParams = _NO_INGEST,
    metrics: IngestMetricsParams = _NO_INGEST_METRICS,
) -> int:
    """Run the API only, in front of a Redis shared with others.

    For example:

        clarion ingest --redis-url redis://10.0.0.5:6379/0 --bind 0.0.0.0:8080 --ingest-processes 4
    """
    url = _shared_redis(store, "ingest")
    board = Board()
    return Supervisor(_ingests(ingest, url, board) + _watches(metrics, url, board)).run()


def admin(
    *, store: StoreParams = _NO_STORE, admin: AdminParams = _NO_ADMIN, apns: ApnsParams = _NO_APNS
) -> int:
    """Run the admin API only, beside a gateway that runs without, or before a Redis shared with others.

    For example:

        clarion admin --redis-url redis://10.0.0.5:6379/0 --admin-bind 127.0.0.1:8081
    """
    url = store.url() or running_url(store.data_dir)
    if url is None:
        raise OptionError(
            "redis-url", f"'clarion admin' needs one, or a 'clarion run' that is up on {store.data_dir}"
        )
    rows = _admins(store, admin, apns, url)
    if not rows:
        raise OptionError("admin-bind", "is empty; write where to listen, such as 127.0.0.1:8081")
    return Supervisor(rows).run()


def _shared_redis(store: StoreParams, command: str) -> str:
    url = store.url()
    if url is None:
        raise OptionError(
            "redis-url",
            f"'clarion {command}' needs one; 'clarion run' can do without, with a Redis of its own",
        )
    return url


def _redis(store: StoreParams) -> tuple[list[Row], str, Callable[[], None]]:
    """The rows for Redis (none when there is an URL), its URL, and what to call in the end."""
    url = store.url()
    if url is not None:
        return [], url, lambda: None
    server = prepare(store.data_dir, store.redis_fsync)
    row = Row(name="redis", stage=REDIS_STAGE, argv=server.argv, ready=server.ready, grace_s=REDIS_STOP_S)
    return [row], server.url, server.release


def _numbered(kind: str, processes: int) -> Iterator[tuple[int, str]]:
    """The number and the name of each process of a kind."""
    return ((number, f"{kind}-{number}") for number in range(processes))


def _workers(store: StoreParams, params: EngineParams, redis_url: str, board: Board) -> list[Row]:
    options = params.options(redis_url)
    if not 1 <= params.workers <= 1_024:
        raise OptionError("workers", f"is {params.workers}; write a number from 1 to 1024")
    master_key = store.master_key(create=True)
    # forked with its children, so that one that is started again has the name of the one that died
    node = os.urandom(4).hex()
    return [
        Row(
            name=name,
            index=number,
            stage=WORKER_STAGE,
            run=partial(_work, options, master_key, params.workers, node, board.add(name, WORKER)),
            pulsed=True,
            grace_s=options.drain_s + MARGIN_S,
        )
        for number, name in _numbered("worker", params.workers)
    ]


def _work(
    options: EngineOptions,
    master_key: MasterKey,
    workers: int,
    node: str,
    sheet: Sheet,
    context: ChildContext,
) -> int:
    return run_worker(
        options,
        master_key,
        context.index,
        workers,
        node=node,
        pulse=context.pulse,
        lifeline=context.lifeline,
        sheet=sheet,
    )


def _ingests(params: IngestParams, redis_url: str, board: Board) -> list[Row]:
    options = params.options(redis_url)
    if not 1 <= params.ingest_processes <= 1_024:
        raise OptionError("ingest-processes", f"is {params.ingest_processes}; write a number from 1 to 1024")
    listener = listen(options)
    return [
        Row(
            name=name,
            index=number,
            stage=INGEST_STAGE,
            run=partial(_ingest, options, listener, board.add(name, INGEST)),
            pulsed=True,
            grace_s=options.grace_s + MARGIN_S,
        )
        for number, name in _numbered("ingest", params.ingest_processes)
    ]


def _ingest(options: IngestOptions, listener: socket.socket, sheet: Sheet, context: ChildContext) -> int:
    return serve(options, listener, pulse=context.pulse, lifeline=context.lifeline, sheet=sheet)


def _watches(params: MetricsParams, redis_url: str, board: Board) -> list[Row]:
    if not params.metrics_bind:
        return []
    listener = listen(params.bound(), "--metrics-bind")
    return [
        Row(
            name="metrics",
            stage=METRICS_STAGE,
            run=partial(_watch, listener, board, redis_url),
            pulsed=True,
            grace_s=MARGIN_S,
        )
    ]


def _watch(listener: socket.socket, board: Board, redis_url: str, context: ChildContext) -> int:
    return metrics_process.serve(listener, board, redis_url, pulse=context.pulse, lifeline=context.lifeline)


def _admins(store: StoreParams, params: AdminParams, apns: ApnsParams, redis_url: str) -> list[Row]:
    if not params.admin_bind:
        return []
    options = params.options(redis_url, apns)
    token = params.token(store)
    vault = Vault(store.master_key(create=True))
    listener = listen(options, "--admin-bind")
    return [
        Row(
            name="admin",
            stage=ADMIN_STAGE,
            run=partial(_administer, options, listener, token, vault),
            pulsed=True,
            grace_s=options.grace_s + MARGIN_S,
        )
    ]


def _administer(
    options: AdminOptions, listener: socket.socket, token: AdminToken, vault: Vault, context: ChildContext
) -> int:
    return admin_process.serve(
        options, listener, token, vault, pulse=context.pulse, lifeline=context.lifeline
    )
