"""What the pools of one endpoint share: the addresses that DNS gives, and the turns to dial."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from rig import Rig, Watcher, until

from engine.apns.headers import ProfileBook
from engine.link.errors import DialError
from engine.link.host import Host
from engine.link.link import Link


def resolve_to(*addresses: str) -> None:
    """Let this loop's look-ups find these addresses."""

    async def getaddrinfo(host: str, port: int, **_: Any) -> Sequence[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign,assignment]


class Ends(Watcher):
    """An owner that tells the host of links that end, as a pool does."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host

    def closed(self, link: Link) -> None:
        super().closed(link)
        self._host.left(link.address)


def maker(rig: Rig, host: Host) -> Any:
    book = ProfileBook(rig.at.authority, rig.bearer().badge(rig.wall()))
    return lambda: Link(Ends(host), book, rig.clock)


def test_links_are_spread_over_all_addresses_and_the_one_that_was_left_is_next() -> None:
    async def scenario() -> None:
        async with Rig(host="0.0.0.0") as rig:
            resolve_to("127.0.0.1", "127.0.0.2", "127.0.0.3")
            host = rig.host()
            links = [await host.dial(maker(rig, host), rig.bearer()) for _ in range(6)]
            addresses = [link.address for link in links]
            assert {address: addresses.count(address) for address in addresses} == {
                "127.0.0.1": 2,
                "127.0.0.2": 2,
                "127.0.0.3": 2,
            }
            gone = links[3]
            gone.abort()
            await until(lambda: f"'{gone.address}': 1" in repr(host), lambda: host)
            links.append(await host.dial(maker(rig, host), rig.bearer()))
            assert links[-1].address == gone.address
            for link in links:
                link.abort()
            await until(lambda: repr(host).endswith("well, 0 dialling, {}>"), lambda: host)

    asyncio.run(scenario())


def test_an_address_that_fails_is_passed_over_for_others_until_a_while_has_gone_by() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            # the simulator is at the first of them only
            host = rig.host(shun_s=60.0, redial_first_s=0.0)
            resolve_to("127.0.0.2")
            with pytest.raises(DialError) as failed:
                await host.dial(maker(rig, host), rig.bearer())
            assert failed.value.address == "127.0.0.2" and host.down
            resolve_to("127.0.0.2", "127.0.0.1")
            links = [await host.dial(maker(rig, host), rig.bearer()) for _ in range(3)]
            assert [link.address for link in links] == ["127.0.0.1"] * 3 and not host.down
            rig.clock.ahead_s += 61.0
            with pytest.raises(DialError):
                await host.dial(maker(rig, host), rig.bearer())
            for link in links:
                link.abort()

    asyncio.run(scenario())


def test_while_a_host_is_down_one_dial_at_a_time_is_allowed_and_none_before_the_delay_is_over() -> None:
    async def scenario() -> None:
        async with Rig() as rig:
            host = rig.host(redial_first_s=10.0)
            assert [host.take_turn() for _ in range(3)] == [True] * 3
            await rig.simulator.accept("refuse")
            with pytest.raises(DialError):
                await host.dial(maker(rig, host), rig.bearer())
            for _ in range(3):
                host.give_turn_back()
            assert not host.take_turn()
            rig.clock.ahead_s += 10.1
            assert [host.take_turn() for _ in range(3)] == [True, False, False]
            await rig.simulator.accept("serve")
            link = await host.dial(maker(rig, host), rig.bearer())
            assert host.take_turn()
            link.abort()

    asyncio.run(scenario())
