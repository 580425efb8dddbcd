"""Which credential signs a push."""

from collections.abc import Iterator, Sequence
from random import Random

import msgspec

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


def as_it_reads(
    credentials: Sequence[Credential], environment: str, topic: str, now_ms: int
) -> Credential | None:
    """``choose`` as its docstring says it, with every topic of every credential looked at."""

    def named(bundle_id: str) -> bool:
        suffix = topic.removeprefix(bundle_id)
        return topic.startswith(bundle_id) and (
            suffix in SUFFIXES.values() or (suffix.startswith(".push-type.") and suffix.count(".") == 2)
        )

    best: tuple[int, int] = (-1, -1)
    found = None
    for each in credentials:
        fit = max((len(bundle_id) for bundle_id in each.topics if named(bundle_id)), default=0)
        fits = bool(fit) or not each.topics
        if fits and each.serves(environment, now_ms) and (fit, each.created_ms) >= best:
            best, found = (fit, each.created_ms), each
    return found


def test_whatever_the_record_the_choice_is_the_one_that_the_rule_names() -> None:
    chance = Random(1)
    ends = ["", *SUFFIXES.values(), ".push-type.newest", ".push-type.", ".push-type.a.b", ".mail", "."]
    names = [f"{name}{end}{more}" for name in ("", "a", "a.b") for end in ends for more in ends]
    for _ in range(3_000):
        credentials = [
            key(
                str(number),
                topics=tuple(chance.choices(names, k=chance.choice((0, 1, 3, 60)))),
                created_ms=chance.randrange(3),
                environments=chance.choice((("production",), ("sandbox",), ("production", "sandbox"))),
                disabled=chance.random() < 0.1,
                not_after_ms=chance.choice((0, NOW_MS, NOW_MS + 1)),
            )
            for number in range(chance.randrange(6))
        ]
        for topic in chance.choices(names, k=5):
            for environment in ("production", "sandbox"):
                found = choose(credentials, environment, topic, NOW_MS)
                assert found is as_it_reads(credentials, environment, topic, NOW_MS)


class Counted(tuple[str, ...]):
    """Topics that count how often all of them are looked at."""

    looked = 0

    def __iter__(self) -> Iterator[str]:
        self.looked += 1
        return super().__iter__()


def test_a_thousand_topics_are_looked_at_once_however_many_pushes_ask() -> None:
    topics = Counted(f"com.acme.app{number}" for number in range(1_000))
    own = key("own", topics=topics)
    for number in range(1_000):
        assert chosen(own, topic=f"com.acme.app{number}.voip") == "own"
    assert topics.looked <= 1


def test_what_was_looked_up_is_no_part_of_the_record() -> None:
    own = key("own", topics=("com.acme",))
    stored = msgspec.msgpack.encode(own)
    assert chosen(own, topic="com.acme") == "own"
    assert msgspec.msgpack.encode(own) == stored
    other = msgspec.structs.replace(own, topics=("com.other",))
    assert chosen(other, topic="com.acme") is None
    assert own == key("own", topics=("com.acme",))
