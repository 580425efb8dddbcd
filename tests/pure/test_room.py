"""Who finds room, and that what is given back is free again."""

from random import Random

from ingest.room import Room


def fill(room: Room, tenant: str, amount: int = 1) -> int:
    """Take as often as it fits; returns how often."""
    times = 0
    while room.fits(tenant, amount):
        room.take(tenant, amount)
        times += 1
    return times


def test_one_alone_has_half_and_those_who_come_later_half_of_what_is_left() -> None:
    room = Room(120)
    assert [fill(room, name) for name in "abc"] == [60, 30, 15]
    assert repr(room) == "<Room 105 of 120 taken by 3 tenants>"


def test_those_who_ask_in_turn_have_equal_parts() -> None:
    room = Room(120)
    for _ in range(120):
        for name in "abc":
            if room.fits(name, 1):
                room.take(name, 1)
    assert [room.of(name) for name in "abc"] == [30, 30, 30]


def test_half_of_an_empty_room_fits_at_once_and_no_more() -> None:
    assert Room(10).fits("a", 5)
    assert not Room(10).fits("a", 6)


def test_what_is_given_back_is_free_and_nobody_is_remembered() -> None:
    room, chance = Room(1_000), Random(1)
    taken: list[tuple[str, int]] = []
    for _ in range(2_000):
        tenant, amount = chance.choice("abcdef"), chance.randrange(1, 100)
        if room.fits(tenant, amount):
            room.take(tenant, amount)
            taken.append((tenant, amount))
            assert room.of(tenant) <= 1_000 - room.taken
        elif taken:
            room.give_back(*taken.pop(chance.randrange(len(taken))))
    for each in taken:
        room.give_back(*each)
    assert repr(room) == "<Room 0 of 1000 taken by 0 tenants>"
