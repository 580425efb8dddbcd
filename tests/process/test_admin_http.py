"""The admin API as those who use it meet it: every action, who may do it, and the words for what goes wrong."""

import gzip
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_py
from admin_process import TOKEN, AdminProcess, serving
from ingest_process import read_response, request
from redis_server import RedisServer

from engine.admin.problems import KINDS, Code
from engine.admin.routes import ROUTES, Route
from loadtest.teams import make_team
from shards.keys import rate_key, shard_keys

ONE, TWO = make_team(1), make_team(2)
APP, MAIL = "com.acme.app", "com.acme.mail"
ACME = "/v1/tenants/acme"


def key_of(team: Any, **fields: Any) -> dict[str, Any]:
    plain = {"team_id": team.team_id, "key_id": team.key_id, "key": team.private_key_pem.decode()}
    return {**plain, **fields}


@pytest.fixture
def api(redis_url: str) -> Iterator[AdminProcess]:
    # nothing listens on the discard port
    apns = "https://127.0.0.1:9"
    with serving(redis_url, apns_production_url=apns, apns_sandbox_url=apns) as process:
        yield process


@pytest.fixture
def acme(api: AdminProcess) -> str:
    """A tenant with a credential; its first API key."""
    made = api.ask("POST", "/v1/tenants", {"name": "acme", "applications": [APP], "credential": key_of(ONE)})
    assert made.status == 201
    return str(made.json["api_key"])


def made_key(api: AdminProcess, **fields: Any) -> str:
    made = api.ask("POST", f"{ACME}/keys", fields)
    assert made.status == 201
    return str(made.json["api_key"])


def _leads_to(route: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path) is not None


def test_every_action_can_be_done_and_is_logged_with_who_did_it(api: AdminProcess) -> None:
    done: list[Route] = []
    secrets = [TOKEN, *ONE.private_key_pem.decode().splitlines()[1:-1]]

    def ask(method: str, path: str, body: Any = None, token: str = TOKEN) -> Any:
        answer = api.ask(method, path, body, token=token)
        plain = path.split("?")[0]
        [route] = [each for each in ROUTES if each.method == method and _leads_to(each.path, plain)]
        assert answer.status == route.status, answer.body
        done.append(route)
        return answer.json

    made = ask("POST", "/v1/tenants", {"name": "acme", "applications": [APP], "limits": {"weight": 2}})
    assert made["tenant"]["limits"]["weight"] == 2
    assert [each["name"] for each in ask("GET", "/v1/tenants")["tenants"]] == ["acme"]
    assert ask("PATCH", ACME, {"spread": 8, "limits": {"send_per_s": 50}})["limits"]["send_per_s"] == 50
    assert ask("POST", f"{ACME}/disable")["disabled"] and not ask("POST", f"{ACME}/enable")["disabled"]
    assert ask("POST", f"{ACME}/pause", {"lane": "low"})["paused"] == ["low"]
    assert ask("POST", f"{ACME}/resume")["paused"] == []
    assert len(ask("POST", f"{ACME}/applications", {"bundle_id": MAIL})["applications"]) == 2
    assert ask("POST", f"{ACME}/credentials", key_of(ONE))["credential"]["usable"]
    checked = ask("POST", f"{ACME}/check", {"environment": "sandbox"})
    assert not checked["good"]
    assert [(each["credential"], each["reason"]) for each in checked["findings"]] == [
        (ONE.key_id, "Unreachable")
    ]
    rotated = {"key_id": TWO.key_id, "key": TWO.private_key_pem.decode(), "overlap_s": 3600}
    assert ask("POST", f"{ACME}/credentials/{ONE.key_id}/rotate", rotated)["credential"]["name"] == TWO.key_id
    assert [each["name"] for each in ask("GET", f"{ACME}/credentials")["credentials"]] == [
        ONE.key_id,
        TWO.key_id,
    ]
    assert ask("POST", f"{ACME}/credentials/{TWO.key_id}/disable")["credential"]["disabled"]
    assert not ask("POST", f"{ACME}/credentials/{TWO.key_id}/enable")["credential"]["disabled"]
    end = {"not_after_ms": 4_000_000_000_000}
    assert ask("POST", f"{ACME}/credentials/{TWO.key_id}/expire", end)["credential"]["not_after_ms"] == 4e12
    [first, _] = ask("GET", f"{ACME}/applications")["applications"]
    assert first == {"bundle_id": APP, "credentials": {"production": TWO.key_id, "sandbox": TWO.key_id}}
    ci = ask("POST", f"{ACME}/keys", {"scopes": ["admin"], "label": "ci"})
    assert len(ask("GET", f"{ACME}/keys")["keys"]) == len(ask("GET", "/v1/keys")["keys"]) == 2
    assert ask("GET", f"/v1/keys/{ci['key']['prefix']}")["tenant"] == "acme"
    assert "revoke this one by its prefix" in ask("GET", f"{ACME}/keys/{ci['key']['prefix']}")["if_lost"]
    # with the tenant's own key, as far as that opens
    own = ci["api_key"]
    assert ask("DELETE", f"{ACME}/credentials/{ONE.key_id}", token=own) == {"notes": []}
    assert ask("DELETE", f"{ACME}/applications/{MAIL}", token=own) == {"notes": []}
    assert ask("DELETE", f"{ACME}/keys/{made['key']['prefix']}?after_s=60", token=own)["notes"]
    detail = ask("GET", ACME, token=own)
    assert detail["queue"] == {"high": 0, "low": 0, "retry": 0, "retry_at_least": False}
    assert detail["applications"] == [APP]
    assert ask("DELETE", f"{ACME}?force=true") == {"notes": []}
    assert set(done) == set(ROUTES)

    log = api.end()
    told = [line.partition("clarion.audit: ")[2] for line in log.splitlines() if "clarion.audit" in line]
    assert len(told) == sum(route.changes for route in done)
    assert f"admin.token did tenant create of tenant acme: with API key {made['key']['prefix']}" in told
    assert "admin.token did tenant set of tenant acme: send_per_s, spread" in told
    assert f"admin.token did credential rotate of tenant acme: {ONE.key_id} to {TWO.key_id}" in told
    assert f"{ci['key']['prefix']} did credential revoke of tenant acme: {ONE.key_id}" in told
    assert "admin.token did tenant delete of tenant acme: by force" in told
    for secret in (*secrets, made["api_key"], ci["api_key"]):
        assert secret not in log


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "pointer", "words"),
    [
        ("POST", "/v1/tenants", {"name": "acme"}, 409, "", "there is a tenant 'acme' already; choose another name"),
        ("POST", "/v1/tenants", {"name": "A"}, 422, "/name", "'A' can't be: write lower-case letters"),
        ("POST", "/v1/tenants", {}, 422, "/name", "the body has no name"),
        ("POST", "/v1/tenants", {"nme": 1}, 422, "", "a field 'nme', which is not known; those that are: "),
        ("POST", "/v1/tenants", b"{", 400, "", "the body is not JSON"),
        ("POST", "/v1/tenants", [], 422, "", "the body has the wrong type: expected `object`"),
        ("PATCH", ACME, {"limits": {"weight": "x"}}, 422, "/limits/weight", "expected `int`, got `str`"),
        ("PATCH", ACME, {"limits": {"weight": 0}}, 422, "/limits/weight", "is 0; write a number from 1 to 1000"),
        ("POST", f"{ACME}/pause", {"lane": "slow"}, 422, "/lane", "write both or high or low"),
        ("GET", "/v1/tenants/nobody", None, 404, "", "there is no tenant 'nobody'"),
        ("GET", "/v1/tenants/%FF%00", None, 404, "", "there is no tenant (not shown"),
        ("POST", f"{ACME}/check", {"environment": "staging"}, 422, "/environment", "write production or sandbox"),
        ("POST", "/v1/tenants/nobody/check", None, 404, "", "there is no tenant 'nobody'"),
        ("DELETE", f"{ACME}/applications/{APP}", None, 409, "", "the last application of tenant 'acme'"),
        ("DELETE", f"{ACME}/applications/com.x", None, 404, "", "has no application 'com.x'"),
        ("POST", f"{ACME}/credentials", key_of(TWO, key="x"), 422, "/key", "it is not a PEM file"),
        ("POST", f"{ACME}/credentials", key_of(TWO, topics=["com.x"]), 422, "/topics/0", "'com.x' is no application"),
        ("POST", f"{ACME}/credentials", key_of(ONE, team_id="OTHERTEAM1"), 422, "/team_id", "belongs to one team"),
        ("POST", f"{ACME}/credentials", key_of(ONE), 409, "", "this key is there already, as credential"),
        ("POST", f"{ACME}/credentials", key_of(TWO, key_id=ONE.key_id, team_id=ONE.team_id), 422, "/key", "is another"),
        ("DELETE", f"{ACME}/credentials/none", None, 404, "", "has no credential 'none'"),
        ("GET", f"{ACME}/keys/clarion_00000000", None, 404, "", "has no API key 'clarion_00000000'"),
        ("DELETE", f"{ACME}/keys/lost", None, 404, "", "write its beginning, up to the second underscore"),
        ("DELETE", f"{ACME}?force=perhaps", None, 400, "", "force has the wrong type: expected `bool`"),
        ("DELETE", f"{ACME}?farce=true", None, 400, "", "the query has a field 'farce'"),
        ("DELETE", f"{ACME}/keys/clarion_00000000", {"after_s": 9}, 422, "", "write after_s behind a question mark"),
        ("DELETE", ACME, {"dry_run": True}, 422, "", "write force behind a question mark"),
        ("POST", f"{ACME}/disable", {"nonsense": 1}, 422, "", "takes no body: send none"),
        ("GET", ACME, b"{", 422, "", "takes no body: send none"),
        ("POST", f"{ACME}/pause?lane=low", None, 400, "", "write lane into the body, a JSON object"),
        ("POST", f"{ACME}/pause?{APP}=x", {"lane": "low"}, 400, "", "write lane into the body, a JSON object"),
        ("GET", f"{ACME}?full=true", None, 400, "", "takes no query: end the address before the question mark"),
        ("DELETE", f"{ACME}?force=false&force=true", None, 400, "", "more than once; write it once"),
        ("PUT", "/v1/tenants", {}, 405, "", "use one of GET, POST here"),
        ("GET", "/v1/teapots", None, 404, "", "/openapi.json lists what there is"),
        ("POST", "/v1/tenants", b"x" * 600_000, 413, "", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_words_with_its_place(
    method: str, path: str, body: Any, status: int, pointer: str, words: str, api: AdminProcess, acme: str
) -> None:
    answer = api.ask(method, path, body)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"].startswith("application/problem+json")
    told = answer.json
    assert words in told["detail"]
    assert [each["pointer"] for each in told.get("errors", ())] == ([pointer] if pointer else [])
    assert KINDS[Code(told["code"])].status == told["status"] == status
    assert told["instance"] == answer.headers["x-request-id"]


def test_what_stands_in_the_wrong_place_is_refused_before_anything_is_done(
    api: AdminProcess, acme: str
) -> None:
    prefix = api.ask("GET", f"{ACME}/keys").json["keys"][0]["prefix"]
    for method, path, body, status in (
        ("DELETE", f"{ACME}/keys/{prefix}", {"after_s": 86400}, 422),
        ("DELETE", ACME, {"dry_run": True}, 422),
        ("POST", f"{ACME}/disable", {"after_s": 60}, 422),
        ("POST", f"{ACME}/pause?lane=low", None, 400),
    ):
        assert api.ask(method, path, body).status == status, (method, path)
    found = api.ask("GET", ACME).json
    assert ([each["prefix"] for each in found["keys"]], found["disabled"], found["paused"]) == (
        [prefix],
        False,
        [],
    )
    # an object with nothing in it asks for nothing that is left undone
    assert api.ask("POST", f"{ACME}/disable", {}).json["disabled"]
    told = [line for line in api.end().splitlines() if "clarion.audit" in line]
    assert [line.partition(" did ")[2].split(" of ")[0] for line in told] == [
        "tenant create",
        "tenant disable",
    ]


def test_no_error_and_no_log_line_quotes_a_secret_in_the_wrong_place(api: AdminProcess, acme: str) -> None:
    pem = TWO.private_key_pem.decode()
    line = pem.splitlines()[1]
    for method, path, body in (
        ("POST", "/v1/tenants", {"name": pem}),
        ("POST", "/v1/tenants", {"name": acme}),
        ("POST", "/v1/tenants", {pem: 1}),
        ("POST", "/v1/tenants", {"name": "zeta", "in_doubt": acme}),
        ("POST", "/v1/tenants", {"name": "zeta", "applications": [line]}),
        ("POST", f"{ACME}/credentials", {**key_of(TWO), "key_id": line}),
        ("POST", f"{ACME}/credentials", {**key_of(TWO), "name": line}),
        ("POST", f"{ACME}/credentials", {**key_of(TWO), "environments": [line]}),
        ("POST", f"{ACME}/credentials", {**key_of(TWO), "key": pem[:-60]}),
        ("POST", f"{ACME}/keys", {"label": acme}),
        ("GET", f"/v1/tenants/{acme}", None),
        ("DELETE", f"{ACME}/credentials/{acme}", None),
        ("GET", f"/v1/keys/x{acme}", None),
        ("DELETE", f"{ACME}/applications/{acme}", None),
        ("DELETE", f"{ACME}?{acme}=1", None),
        ("DELETE", f"{ACME}?{acme}=1&{acme}=1", None),
        ("GET", f"{ACME}?{acme}={acme}", None),
        ("DELETE", f"{ACME}/keys/x", {acme: line}),
    ):
        answer = api.ask(method, path, body)
        assert 400 <= answer.status < 500, (path, answer)
        for secret in (line, acme, acme[17:]):
            assert secret.encode() not in answer.body, (path, answer)
    log = api.end()
    assert line not in log and acme[17:] not in log


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nAuthorization: Bearer hush-hush\0\r\n\r\n",
        b"hush-hush\r\n\r\n",
        b"GET /" + b"hush-hush" * 2_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1/tenants HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nhush-hush\r\n",
    ],
)
def test_what_is_no_http_is_told_so_and_quoted_nowhere(said: bytes, api: AdminProcess) -> None:
    with socket.create_connection(api.address, timeout=15) as connection:
        connection.sendall(said)
        answer = read_response(connection)
    assert (answer.status, answer.json["code"]) == (400, "bad-request")
    assert b"hush" not in answer.body and "hush" not in api.end()


def test_a_client_that_goes_away_within_its_body_is_no_fault_of_ours(api: AdminProcess) -> None:
    with socket.create_connection(api.address, timeout=15) as connection:
        whole = request(
            "POST", "/v1/tenants", {"Authorization": f"Bearer {TOKEN}", "Expect": "100-continue"}, b"{}"
        )
        connection.sendall(whole[:-2])
        # only now is the body waited for
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 Continue")
    log = api.end()
    assert "Traceback" not in log and "ERROR" not in log


def test_who_may_do_what(api: AdminProcess, acme: str) -> None:
    assert api.ask("POST", "/v1/tenants", {"name": "zeta"}).status == 201
    own = made_key(api, scopes=["admin"])
    for token, code in (
        (None, "token-missing"),
        ("", "token-missing"),
        ("wrong", "token-unknown"),
        (TOKEN[:-1], "token-unknown"),
        (TOKEN + "t", "token-unknown"),
        ("x" * 300, "token-unknown"),
        (acme, "scope-missing"),
    ):
        answer = api.ask("GET", ACME, token=token)
        assert answer.json["code"] == code
        assert (answer.headers.get("www-authenticate") == "Bearer") == (answer.status == 401)
    for route in ROUTES:
        path = route.path.replace("{name}", "x")
        answer = api.ask(route.method, path.replace("{tenant}", "zeta"), {}, token=own)
        expected = "operator-only" if route.operator else "tenant-foreign"
        assert (answer.status, answer.json["code"]) == (403, expected), route
        if not route.operator:
            answer = api.ask(route.method, path.replace("{tenant}", "acme"), {}, token=own)
            assert answer.status not in (401, 403), route
    # a tenant that exists can't be told from one that does not
    assert api.ask("GET", "/v1/tenants/nobody", token=own).json["code"] == "tenant-foreign"


def test_a_disabled_tenant_may_look_and_an_ended_key_may_nothing(api: AdminProcess, acme: str) -> None:
    own = made_key(api, scopes=["admin"])
    api.ask("POST", f"{ACME}/disable")
    assert api.ask("GET", ACME, token=own).status == 200
    assert api.ask("POST", f"{ACME}/keys", {}, token=own).json["code"] == "tenant-disabled"
    api.ask("POST", f"{ACME}/enable")
    assert api.ask("DELETE", f"{ACME}/keys/{own[:16]}?after_s=0.001").status == 200
    # its last millisecond may still be running
    over = api.ask_until(401, "GET", ACME, token=own)
    assert over.json["code"] == "key-over"
    assert api.ask("DELETE", f"{ACME}/keys/{own[:16]}").status == 200
    assert api.ask("GET", ACME, token=own).json["code"] == "token-unknown"


def test_the_description_has_every_operation_and_no_loose_end(api: AdminProcess) -> None:
    answer = api.ask("GET", "/openapi.json", token=None)
    description = answer.json
    assert (answer.status, description["openapi"]) == (200, "3.1.0")
    for route in ROUTES:
        operation = description["paths"][route.path][route.method.lower()]
        assert str(route.status) in operation["responses"]
        assert ("requestBody" in operation) == (route.body is not None)
    operations = [each for path in description["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations if "operationId" in each]
    assert len(set(names)) == len(names) == len(ROUTES)
    schemas = description["components"]["schemas"]
    references = {part.split('"')[0] for part in answer.body.decode().split('"#/components/schemas/')[1:]}
    assert references <= set(schemas)
    for route in ROUTES:
        if route.body is not None:
            assert schemas[route.body.__name__]["additionalProperties"] is False
    problems = api.ask("GET", "/docs/problems", token=None).body.decode()
    assert all(code in problems for code in Code)


def test_a_name_is_free_again_when_the_pushes_of_its_earlier_tenant_have_ended(
    api: AdminProcess, acme: str, redis_url: str
) -> None:
    with redis_py.Redis.from_url(redis_url) as raw:
        raw.zadd(shard_keys(9).waiting, {"high|acme|push": 1})
        raw.set(rate_key("acme"), "-5000 1800000000000")
        assert api.ask("DELETE", ACME).json["code"] == "conflict"
        assert api.ask("DELETE", f"{ACME}?force=true").status == 200
        answer = api.ask("POST", "/v1/tenants", {"name": "acme"})
        assert (answer.status, answer.json["code"]) == (409, "conflict")
        assert answer.json["detail"].startswith("1 pushes of an earlier tenant 'acme' still wait: ")
        raw.delete(shard_keys(9).waiting)
        assert api.ask("POST", "/v1/tenants", {"name": "acme"}).status == 201
        assert not raw.exists(rate_key("acme"))


def test_other_media_types_and_slow_bodies_are_told(redis_url: str) -> None:
    api = AdminProcess(redis_url, body_s=0.05)
    api.await_ready()
    answer = api.ask("POST", "/v1/tenants", {"name": "a"}, Content_Type="text/plain")
    assert (answer.status, answer.json["code"]) == (415, "unsupported-content-type")
    # whatever it is, nobody tries to unpack it
    for packed in (gzip.compress(b"{}"), b"not gzip at all"):
        answer = api.ask("POST", "/v1/tenants", packed, Content_Encoding="gzip")
        assert (answer.status, answer.json["code"]) == (415, "unsupported-content-encoding")
    with socket.create_connection(api.address, timeout=15) as connection:
        whole = request("POST", "/v1/tenants", {"Authorization": f"Bearer {TOKEN}"}, b'{"name":"a"}')
        connection.sendall(whole[:-5])
        assert read_response(connection).json["code"] == "body-too-slow"
    assert "ERROR" not in api.end()


def test_it_lives_without_redis_and_says_so(redis_server: RedisServer) -> None:
    redis_server.kill9()
    api = AdminProcess(redis_server.url)
    assert api.ask("GET", "/livez", token=None).status == 200
    for path in ("/readyz", "/v1/tenants"):
        answer = api.ask("GET", path)
        assert (answer.status, answer.json["code"]) == (503, "store-unavailable")
        assert answer.headers["retry-after"] == "1"
    redis_server.start()
    api.await_ready()
    assert api.ask("GET", "/v1/tenants").json == {"tenants": []}
    assert "Traceback" not in api.end()


def test_it_stops_when_it_is_asked_to_and_when_its_supervisor_is_gone(redis_url: str) -> None:
    for stop in ("signal", "lifeline"):
        api = AdminProcess(redis_url)
        api.await_ready()
        if stop == "signal":
            api.process.send_signal(signal.SIGTERM)
        else:
            os.close(api.lifeline)
            api.lifeline = -1
        assert "admin API stops" in api.ended()
        with socket.socket() as found:
            assert found.connect_ex(api.address) != 0


def test_answers_are_not_to_be_kept(api: AdminProcess, acme: str) -> None:
    answer = api.ask("POST", f"{ACME}/keys")
    assert json.loads(answer.body)["api_key"]
    assert (answer.headers["cache-control"], answer.headers["server"]) == ("no-store", "clarion")
