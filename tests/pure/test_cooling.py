"""Devices that are left alone for a while: which jobs wait, for how long, and what is forgotten when."""

from engine.apns.headers import Held
from engine.policy.cooling import DEVICES_MOST, Cooling
from shards.job import Job

NOW_MS = 1_700_000_000_000
TOPIC = "com.acme.app"


def held(*tokens: bytes, topic: str = TOPIC) -> list[Held]:
    return [(Job(b"id", token, topic, b"{}"), number) for number, token in enumerate(tokens)]


def cooling(**until_ms: int) -> Cooling:
    made = Cooling()
    for token, until in until_ms.items():
        made.add(TOPIC, token.encode(), NOW_MS + until)
    return made


def test_while_no_device_is_left_alone_there_is_nothing_to_ask() -> None:
    assert not Cooling()
    assert Cooling().sift(held(b"aa"), NOW_MS) == (held(b"aa"), [])


def test_jobs_for_the_device_wait_until_then_and_the_others_are_sent() -> None:
    made = cooling(aa=5_000)
    one, two, three = held(b"aa", b"bb", b"aa")
    assert made.sift([one, two, three], NOW_MS + 2_000) == ([two], [(one, 3.0), (three, 3.0)])


def test_it_is_the_device_in_its_topic() -> None:
    made = cooling(aa=5_000)
    others = held(b"aa", topic="com.acme.other")
    assert made.sift(others, NOW_MS) == (others, [])


def test_when_the_last_device_has_cooled_down_nothing_is_kept() -> None:
    made = cooling(aa=5_000, bb=2_000)
    assert made.sift(held(b"aa", b"bb"), NOW_MS + 2_000)[0] == held(b"aa", b"bb")[1:]
    assert made
    assert made.sift(held(b"aa", b"bb"), NOW_MS + 5_000) == (held(b"aa", b"bb"), [])
    assert not made


def test_one_that_has_cooled_down_is_forgotten_when_it_is_met() -> None:
    made = cooling(aa=1_000, bb=5_000)
    made.sift(held(b"aa"), NOW_MS + 1_000)
    assert repr(made) == "<Cooling 1 devices>"


def test_of_two_refusals_the_later_time_holds() -> None:
    made = cooling(aa=5_000)
    made.add(TOPIC, b"aa", NOW_MS + 1_000)
    assert made.sift(held(b"aa"), NOW_MS + 1_000) == ([], [(held(b"aa")[0], 4.0)])
    made.add(TOPIC, b"aa", NOW_MS + 9_000)
    assert made.sift(held(b"aa"), NOW_MS + 1_000) == ([], [(held(b"aa")[0], 8.0)])


def test_the_number_of_devices_is_bounded_and_the_oldest_goes_first() -> None:
    made = Cooling(most=3)
    for token in (b"a", b"b", b"c", b"a", b"d"):
        made.add(TOPIC, token, NOW_MS + 1_000)
    # the first was refused again, and so is newer than the second
    assert [entry[0].device_token for entry in made.sift(held(b"a", b"b", b"c", b"d"), NOW_MS)[0]] == [b"b"]


def test_ten_thousand_devices_are_kept() -> None:
    made = Cooling()
    for number in range(2 * DEVICES_MOST):
        made.add(TOPIC, b"%d" % number, NOW_MS + 1_000)
    assert repr(made) == "<Cooling 10000 devices>"
