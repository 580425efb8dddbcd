"""The control door of a simulator that runs as a process: HTTP on its own loopback port.

    POST   /teams           a Team, or a list of them        -> 204
    POST   /devices         a Device, or a list of them      -> 204
    POST   /script          a list of rules                  -> 204   replaces the script
    DELETE /script                                           -> 204
    POST   /scenarios       {"name": "S14"}, see Play        -> 204   replaces the script by a field scenario
    GET    /scenarios                                        -> 200   their numbers, names and what they do
    GET    /ledger                                           -> 200   counts
    GET    /ledger/entries                                   -> 200   NDJSON, one apns-id with its attempts a line
    DELETE /ledger                                           -> 204
    GET    /livez                                            -> 200

Bad input is answered with 400 and an RFC 9457 problem document, whose `field` is the place of the fault as
a JSONPath. Whoever can reach this port can change what the simulator says: keep it on loopback.
"""

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from aiohttp import web

from loadtest.simulator.registry import Device, Team
from loadtest.simulator.scenarios import SCENARIOS
from loadtest.simulator.script import Rule
from loadtest.simulator.server import Simulator

SIMULATOR = web.AppKey("simulator", Simulator)
BODY_BYTES_MAX = 64 * 1024 * 1024
# Lines of the ledger that are written at once; the simulator serves pushes between two writes.
LINES_PER_WRITE = 500

_PLACE = re.compile(r"^(?P<detail>.*?)(?: - at `(?P<place>\$[^`]*)`)?$", re.DOTALL)
_NAMED = re.compile(r"(?:missing required|contains unknown) field `(?P<name>\w+)`")
_FIRST_WORD = re.compile(r"^(?P<name>\w+): ")

Decoded = TypeVar("Decoded")


class Play(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which scenario, and for whom: all that is not given is everybody, at the scenario's own speed."""

    name: str
    team: str | None = None
    connection: int | None = None
    slowness: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.slowness <= 1000:
            raise ValueError(f"slowness: must be above 0, at most 1000, not {self.slowness}")


def control_app(simulator: Simulator) -> web.Application:
    """The aiohttp application that controls this simulator."""
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_problems])
    app[SIMULATOR] = simulator
    app.router.add_post("/teams", _post_teams)
    app.router.add_post("/devices", _post_devices)
    app.router.add_post("/script", _post_script)
    app.router.add_delete("/script", _delete_script)
    app.router.add_post("/scenarios", _post_scenarios)
    app.router.add_get("/scenarios", _get_scenarios)
    app.router.add_get("/ledger", _get_ledger)
    app.router.add_get("/ledger/entries", _get_entries)
    app.router.add_delete("/ledger", _delete_ledger)
    app.router.add_get("/livez", _get_livez)
    return app


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValueError as error:
        detail, field = _explain(error)
        problem = {
            "type": "about:blank",
            "title": "Bad input",
            "status": 400,
            "detail": detail,
            "field": field,
        }
        return web.Response(
            status=400, body=msgspec.json.encode(problem), content_type="application/problem+json"
        )


def _explain(error: ValueError) -> tuple[str, str]:
    """The message without its place, and the place: as deep as the message says."""
    match = _PLACE.match(str(error))
    assert match is not None
    detail, place = match["detail"], match["place"] or "$"
    named = _NAMED.search(detail) or _FIRST_WORD.search(detail)
    return detail, f"{place}.{named['name']}" if named is not None else place


async def _decode(request: web.Request, kind: type[Decoded]) -> Decoded:
    return msgspec.json.decode(await request.read(), type=kind)


async def _post_teams(request: web.Request) -> web.Response:
    for team in _listed(await _decode(request, Team | list[Team])):  # type: ignore[arg-type]
        request.app[SIMULATOR].register(team)
    return web.Response(status=204)


async def _post_devices(request: web.Request) -> web.Response:
    for device in _listed(await _decode(request, Device | list[Device])):  # type: ignore[arg-type]
        request.app[SIMULATOR].tell(device)
    return web.Response(status=204)


async def _post_script(request: web.Request) -> web.Response:
    request.app[SIMULATOR].script(await _decode(request, list[Rule]))
    return web.Response(status=204)


async def _delete_script(request: web.Request) -> web.Response:
    request.app[SIMULATOR].script([])
    await request.app[SIMULATOR].accept("serve")
    return web.Response(status=204)


async def _post_scenarios(request: web.Request) -> web.Response:
    play = await _decode(request, Play)
    await request.app[SIMULATOR].play(
        play.name, team=play.team, connection=play.connection, slowness=play.slowness
    )
    return web.Response(status=204)


async def _get_scenarios(request: web.Request) -> web.Response:
    listed = [
        {"number": number, "name": each.name, "does": each.does, "accept": each.accept, "rules": each.rules}
        for number, each in SCENARIOS.items()
    ]
    return web.Response(body=msgspec.json.encode(listed), content_type="application/json")


async def _get_ledger(request: web.Request) -> web.Response:
    summary = msgspec.json.encode(request.app[SIMULATOR].ledger.summary())
    return web.Response(body=summary, content_type="application/json")


async def _get_entries(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "application/x-ndjson"
    await response.prepare(request)
    lines: list[bytes] = []
    for entry in request.app[SIMULATOR].ledger.entries():
        lines.append(msgspec.json.encode(entry))
        if len(lines) == LINES_PER_WRITE:
            await response.write(b"\n".join(lines) + b"\n")
            lines.clear()
    if lines:
        await response.write(b"\n".join(lines) + b"\n")
    await response.write_eof()
    return response


async def _delete_ledger(request: web.Request) -> web.Response:
    request.app[SIMULATOR].ledger.clear()
    return web.Response(status=204)


async def _get_livez(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def _listed(given: Decoded | list[Decoded]) -> list[Decoded]:
    return given if isinstance(given, list) else [given]
