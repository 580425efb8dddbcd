"""Which credential signs a push."""

from shards.credential import Credential, choose
from shards.push_types import SUFFIXES, belongs

NOW_MS = 1_000_000


def key(name: str, **fields: object) -> Credential:
    return Credential(name, "TEAM000001", name, b"", **fields)  # type: ignore[arg-type]


def chosen(
    *credentials: Credential, topic: str = "com.acme.app", environment: str = "production"
) -> str | None:
    found = choose(credentials, environment, topic, NOW_MS)
    return None if found is None else found.name


def test_of_two_keys_for_all_topics_the_newer_signs() -> None:
    old, new = key("old", created_ms=1), key("new", created_ms=2)
    assert chosen(old, new) == chosen(new, old) == "new"


def test_of_two_of_one_age_it_is_always_the_same() -> None:
    assert {chosen(key("a"), key("b")) for _ in range(5)} == {"b"}


def test_a_key_for_the_topic_comes_before_a_newer_one_for_all() -> None:
    own = key("own", topics=("com.acme.app",), created_ms=1)
    assert chosen(own, key("all", created_ms=2)) == "own"
    assert chosen(own, key("all", created_ms=2), topic="com.acme.other") == "all"


def test_a_key_for_a_bundle_id_is_good_for_its_suffixes_too_and_the_longest_fits_best() -> None:
    app = key("app", topics=("com.acme",), created_ms=2)
    widget = key("widget", topics=("com.acme.widget",), created_ms=1)
    assert chosen(app, widget, topic="com.acme.voip") == "app"
    assert chosen(app, widget, topic="com.acme.widget.push-type.widgets") == "widget"
    assert chosen(app, widget, topic="com.acmeother") is None


def test_one_of_another_environment_disabled_or_past_its_time_is_no_choice() -> None:
    assert chosen(key("sandbox", environments=("sandbox",))) is None
    assert chosen(key("sandbox", environments=("sandbox",)), environment="sandbox") == "sandbox"
    assert chosen(key("off", disabled=True)) is None
    assert chosen(key("over", not_after_ms=NOW_MS)) is None
    assert chosen(key("old", created_ms=1), key("over", created_ms=2, not_after_ms=NOW_MS)) == "old"
    assert chosen(key("still", not_after_ms=NOW_MS + 1)) == "still"
    assert chosen() is None


def test_a_topic_belongs_to_a_bundle_id_by_a_suffix_of_apples_only() -> None:
    assert all(belongs(f"com.acme{suffix}", "com.acme") for suffix in SUFFIXES.values())
    # one that Apple may have added since
    assert belongs("com.acme.push-type.newest", "com.acme")
    for other in ("com.acmevoip", "com.acm", "com.acme.", "com.acme.mail", "com.acme.mail.voip"):
        assert not belongs(other, "com.acme")


def test_a_credential_for_an_application_signs_nothing_of_one_whose_name_only_begins_alike() -> None:
    assert chosen(key("own", topics=("com.acme",)), topic="com.acme.mail") is None
    assert chosen(key("own", topics=("com.acme",)), topic="com.acme.voip") == "own"
