"""The random bytes of ids: as many as are wanted, and none twice."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import randomness as randomness_module
from ingest.randomness import PIECE_BYTES, Randomness


class Kernel:
    """Gives bytes that are counted, so that one that is given twice shows."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self._given = 0

    def __call__(self, size: int) -> bytes:
        self.calls.append(size)
        words = range(self._given, self._given + size)
        self._given += size
        return b"".join((each % 251).to_bytes(1) for each in words)


@given(st.lists(st.integers(0, 2 * PIECE_BYTES), max_size=40))
def test_each_byte_is_given_once_and_as_many_as_are_wanted(sizes: list[int]) -> None:
    kernel = Kernel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(randomness_module.os, "urandom", kernel)
        source = Randomness()
        given_bytes = [source(size) for size in sizes]
    assert [len(each) for each in given_bytes] == sizes
    place, at = 0, b"".join((each % 251).to_bytes(1) for each in range(sum(kernel.calls)))
    for each in given_bytes:
        # in the order in which the kernel gave them; what is left of a piece may be skipped, and is never gone back to
        place = at.index(each, place) + len(each)


def test_the_kernel_is_asked_once_for_many_ids() -> None:
    kernel = Kernel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(randomness_module.os, "urandom", kernel)
        source = Randomness()
        for _ in range(400):
            source(10)
    assert kernel.calls == [PIECE_BYTES]


def test_it_is_the_kernels_own() -> None:
    assert randomness_module.os.urandom is os.urandom
    source = Randomness()
    assert len({source(10) for _ in range(2_000)}) == 2_000
