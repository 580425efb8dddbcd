"""The problem documents: one table, complete, and the same words in every place."""

import msgspec
import pytest

from ingest.documentation import api_page, problems_page
from ingest.openapi import describe
from ingest.options import IngestOptions
from ingest.problems import KINDS, Code, Problem, problem
from runtime.options import OptionError
from shards.problem import Flaw, Refusal

STATUSES = {400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 500, 503}
OPTIONS = IngestOptions(redis_url="redis://localhost")


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_status_a_title_and_a_place_in_the_documentation(code: Code) -> None:
    kind = KINDS[code]
    assert kind.status in STATUSES
    assert kind.title and not kind.title.endswith(".")
    assert f'id="{code}"' in problems_page()
    address = problem(Refusal(code, "x")).type
    assert f'id="{address.removeprefix("/docs/problems#")}"' in problems_page()


def test_only_what_has_no_effect_may_be_retried() -> None:
    retryable = {code for code, kind in KINDS.items() if kind.retryable}
    assert retryable == {
        Code.STORE_UNAVAILABLE,
        Code.STORE_REFUSED,
        Code.TOO_BUSY,
        Code.QUEUE_FULL,
        Code.RATE_LIMITED,
        Code.BODY_TOO_SLOW,
    }


def test_what_the_draft_about_rate_limits_names_has_its_name() -> None:
    over = msgspec.to_builtins(problem(Refusal(Code.RATE_LIMITED, "x")))
    assert (over["type"], over["code"]) == ("/docs/problems#quota-exceeded", "rate-limited")
    assert over["violated-policies"] == ("tenant",)
    assert problem(Refusal(Code.TOO_BUSY, "x")).type == "/docs/problems#temporary-reduced-capacity"
    assert "violated-policies" not in msgspec.to_builtins(problem(Refusal(Code.QUEUE_FULL, "x")))


def test_a_document_has_the_members_of_rfc_9457_and_ours() -> None:
    document = problem(Refusal(Code.BAD_PRIORITY, "write 5", "/priority"), "request-1")
    assert msgspec.json.decode(msgspec.json.encode(document)) == {
        "type": "/docs/problems#bad-priority",
        "title": "The priority is not valid",
        "status": 422,
        "detail": "write 5",
        "code": "bad-priority",
        "retryable": False,
        "errors": [{"pointer": "/priority", "code": "bad-priority", "detail": "write 5"}],
        "instance": "request-1",
    }


def test_a_problem_inside_a_batch_has_no_instance_and_one_without_a_place_no_errors() -> None:
    assert {"instance", "errors"}.isdisjoint(msgspec.to_builtins(problem(Refusal(Code.EMPTY_BODY, "x"))))


def test_a_document_can_be_read_back() -> None:
    document = problem(Refusal(Code.BAD_PAYLOAD, "x", "/payload"))
    assert msgspec.json.decode(msgspec.json.encode(document), type=Problem).errors == [
        Flaw(pointer="/payload", code="bad-payload", detail="x")
    ]


def test_every_reference_in_the_description_leads_somewhere() -> None:
    description = describe(OPTIONS, "1.0")
    text = msgspec.json.encode(description).decode()
    schemas = description["components"]["schemas"]
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas
    assert set(schemas["Notification"]["required"]) == {"device_token", "topic", "payload"}


def test_the_documentation_needs_nothing_from_elsewhere() -> None:
    page = api_page(describe(OPTIONS, "1.0"))
    for path in ("/v1/push", "/v1/push/batch", "/v1/push/campaign", "/v1/tenant", "/readyz"):
        assert path in page
    assert "http://" not in page and "https://" not in page and "<script" not in page


def test_a_status_names_its_codes_and_its_headers() -> None:
    operations = describe(OPTIONS, "1.0")["paths"]
    for path in ("/v1/push", "/v1/push/batch", "/v1/push/campaign"):
        responses = operations[path]["post"]["responses"]
        assert set(responses["202"]["headers"]) == {"RateLimit-Policy", "RateLimit"}
        assert set(responses["429"]["headers"]) == {"Retry-After", "RateLimit-Policy", "RateLimit"}
        assert "Retry-After" in responses["503"]["headers"]
        text = " ".join(response["description"] for response in responses.values())
        for code in ("key-over", "scope-missing", "tenant-disabled", "no-credential"):
            assert code in text
        for code in ("rate-limited", "queue-full", "body-too-slow", "internal-error"):
            assert code in text
    assert set(operations["/v1/tenant"]["get"]["responses"]) == {"200", "401", "403", "500", "503"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("bind_host", ""),
        ("bind_port", 70_000),
        ("redis_url", "localhost:6379"),
        ("arriving_bytes_most", 1024),
        ("batch_items_most", 0),
        ("campaign_devices_most", 0),
        ("waiting_jobs_most", 10),
        ("waiting_bytes_most", 1024),
        ("queue_most_tenant", 0),
        ("queue_most_shard", 0),
        ("retry_after_s", 0),
        ("body_s", 0),
        ("answer_s", 0),
        ("grace_s", -1),
    ],
)
def test_an_option_that_can_not_be_used_is_named(option: str, value: object) -> None:
    # as the command line spells it
    spelt = option.removesuffix("_host").removesuffix("_port")
    with pytest.raises(OptionError, match=f"--{spelt.replace('_', '-')} ") as raised:
        IngestOptions(**{"redis_url": "redis://localhost", option: value}).validate()  # type: ignore[arg-type]
    assert raised.value.option == spelt


def test_the_defaults_can_be_used() -> None:
    OPTIONS.validate()
