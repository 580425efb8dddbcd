"""Who asks the admin API, at the moment in which something is done: a body may come long after its head, and what was
done may be known to the log alone."""

import json
import socket
from collections.abc import Iterator

import pytest
import redis as redis_py
from admin_process import AdminProcess, serving
from ingest_process import TIMEOUT_S, Response, read_response, request

APP = "com.acme.app"
ACME = "/v1/tenants/acme"


@pytest.fixture
def api(redis_url: str) -> Iterator[AdminProcess]:
    with serving(redis_url) as process:
        yield process


@pytest.fixture
def own(api: AdminProcess) -> str:
    """The API key of a tenant that may do what is its own."""
    assert api.ask("POST", "/v1/tenants", {"name": "acme", "applications": [APP]}).status == 201
    return str(api.ask("POST", f"{ACME}/keys", {"scopes": ["admin"]}).json["api_key"])


class Late:
    """A request for another API key, of whose body the end is kept back."""

    def __init__(self, api: AdminProcess, key: str) -> None:
        head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        whole = request("POST", f"{ACME}/keys", head, json.dumps({"scopes": ["admin"]}).encode())
        self._connection = socket.create_connection(api.address, timeout=TIMEOUT_S)
        self._connection.sendall(whole[:-1])
        self._end = whole[-1:]
        # an answer to what came later: the head has been read
        assert api.ask("GET", ACME, token=key).status == 200

    def ended(self) -> Response:
        with self._connection:
            self._connection.sendall(self._end)
            return read_response(self._connection)


def test_a_key_that_is_revoked_before_its_body_is_there_makes_no_other(api: AdminProcess, own: str) -> None:
    late = Late(api, own)
    assert api.ask("DELETE", f"{ACME}/keys/{own}").status == 200
    answer = late.ended()
    assert (answer.status, answer.json["code"]) == (401, "token-unknown")
    assert len(api.ask("GET", f"{ACME}/keys").json["keys"]) == 1


def test_a_tenant_that_is_deleted_before_its_body_is_there_has_no_key_to_the_next_of_its_name(
    api: AdminProcess, own: str
) -> None:
    late = Late(api, own)
    assert api.ask("DELETE", ACME).status == 200
    assert api.ask("POST", "/v1/tenants", {"name": "acme", "applications": ["com.other.app"]}).status == 201
    answer = late.ended()
    assert (answer.status, answer.json["code"]) == (401, "token-unknown")
    assert len(api.ask("GET", f"{ACME}/keys").json["keys"]) == 1


def test_a_tenant_that_is_disabled_before_its_body_is_there_changes_nothing(
    api: AdminProcess, own: str
) -> None:
    late = Late(api, own)
    assert api.ask("POST", f"{ACME}/disable").status == 200
    answer = late.ended()
    assert (answer.status, answer.json["code"]) == (403, "tenant-disabled")
    assert len(api.ask("GET", f"{ACME}/keys").json["keys"]) == 2


def test_who_may_still_ask_when_the_body_is_there_is_served(api: AdminProcess, own: str) -> None:
    assert Late(api, own).ended().status == 201


def test_a_change_that_is_refused_half_way_is_in_the_log(api: AdminProcess, own: str, redis_url: str) -> None:
    with redis_py.Redis.from_url(redis_url) as raw:
        # the record may be written, and the first shards be told of it
        raw.execute_command(
            "ACL", "SETUSER", "default", "resetkeys", "%R~*", "~clarion:[tc]*", "~clarion:{0*"
        )
        try:
            answer = api.ask("POST", f"{ACME}/pause", token=own)
        finally:
            raw.execute_command("ACL", "SETUSER", "default", "allkeys")
    assert (answer.status, answer.json["code"]) == (503, "store-refused")
    assert api.ask("GET", ACME).json["paused"] == ["high", "low"]
    assert f"clarion.audit: {own[:16]} may have done tenant pause of tenant acme\n" in api.end()
