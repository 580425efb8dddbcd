"""Errors quote what was given only if it can't be a secret."""

import pytest

from loadtest.teams import make_team
from shards.administration.credential_request import NewCredential, Rotation
from shards.administration.requests import NewTenant
from shards.api_key import new_api_key
from shards.quoting import looks_secret, quoted

PEM = make_team(1).private_key_pem.decode()


@pytest.mark.parametrize(
    "text",
    [
        "acme",
        "Acme Inc",
        "com.acme.app",
        "com.acme-international.news.subscribers",
        "F6G7H8I9J0",
        "clarion_0a1b2c3d",
        "",
    ],
)
def test_names_are_quoted(text: str) -> None:
    assert quoted(text) == repr(text)


@pytest.mark.parametrize("text", ["clarion-admin_" + "t" * 43, "a" * 101, "a\nb", "\udcff"])
def test_what_may_be_a_key_is_not(text: str) -> None:
    assert quoted(text) == f"(not shown, {len(text)} characters)"


def test_keys_are_not() -> None:
    for secret in [new_api_key()[0], PEM, *PEM.splitlines()[:-2]]:
        assert quoted(secret) == f"(not shown, {len(secret)} characters)"


def test_a_part_of_a_key_among_other_words_is_seen() -> None:
    secret = new_api_key()[0]
    assert looks_secret(f"key {secret[:24]}") and looks_secret(f"is {secret[20:]} lost?")


def test_requests_show_no_secret_of_theirs() -> None:
    secrets = {"key": PEM, "certificate": PEM, "password": "open sesame"}
    new = NewCredential(key_id="F6G7H8I9J0", **secrets)
    for request in (new, Rotation(key_id="F6G7H8I9J0", **secrets), NewTenant(name="acme", credential=new)):
        assert "F6G7H8I9J0" in repr(request)
        assert PEM.splitlines()[1] not in repr(request) and "sesame" not in repr(request)
