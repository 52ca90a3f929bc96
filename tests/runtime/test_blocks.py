"""Blocks are used again when nobody holds them, and no more of them are kept than may be."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from minidnn.runtime.memory import Blocks, address_of


def test_a_block_that_is_held_is_not_given_again() -> None:
    blocks = Blocks(10_000)
    held = [blocks.take(100) for _ in range(10)]
    assert len({b.ctypes.data for b in held}) == 10


def test_a_block_that_nobody_holds_is_given_again() -> None:
    blocks = Blocks(10_000)
    addresses = {blocks.take(100).ctypes.data for _ in range(10)}
    assert len(addresses) == 1


def test_a_view_holds_its_block() -> None:
    blocks = Blocks(10_000)
    view = np.ndarray((5,), np.float32, blocks.take(100), 16)[1:3]
    view[...] = 7
    for _ in range(10):
        blocks.take(100)[...] = 0
    np.testing.assert_array_equal(view, 7)


def test_references_are_counted_as_this_python_counts() -> None:
    block = np.empty(3, np.uint8)
    assert sys.getrefcount(block) == Blocks._FREE
    other = block
    assert sys.getrefcount(other) == Blocks._FREE + 1


def test_only_so_many_of_a_size_are_kept() -> None:
    blocks = Blocks(10_000, most_blocks=3)
    held = [blocks.take(100) for _ in range(8)]
    assert blocks.kept_bytes == 300
    del held
    assert blocks.kept_bytes == 300


def test_only_so_many_bytes_are_kept_and_the_oldest_go_first() -> None:
    blocks = Blocks(1000)
    first = blocks.take(400).ctypes.data
    blocks.take(500)
    assert blocks.take(400).ctypes.data == first, "asked for again, so no longer the oldest"
    blocks.take(300)
    assert blocks.kept_bytes == 700
    assert blocks.take(400).ctypes.data == first


def test_what_is_larger_than_all_that_may_be_kept_is_not_kept() -> None:
    blocks = Blocks(1000)
    assert blocks.take(2000).size == 2000
    assert blocks.kept_bytes == 0


def test_only_so_many_sizes_are_kept() -> None:
    blocks = Blocks(1_000_000, most_sizes=5)
    for size in range(1, 50):
        blocks.take(size)
    assert blocks.kept_bytes == sum(range(45, 50))


def test_many_threads_never_share_a_block() -> None:
    blocks = Blocks(100_000)
    wrong = []

    def work(number: int) -> None:
        for i in range(2000):
            block = blocks.take(64 + 8 * (i % 3))
            block[...] = number
            other = blocks.take(64)
            other[...] = 255
            if not (block == number).all():
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


_ARRAYS = {
    "plain": np.arange(7),
    "a view": np.arange(24).reshape(2, 3, 4)[1, ::2, 1:],
    "backwards": np.arange(9, dtype=np.int8)[::-1],
    "read-only": np.broadcast_to(np.float32(1), (3, 3)),
    "a scalar": np.array(3.0),
    "no elements": np.empty((0, 4)),
    "on memory of others": np.frombuffer(b"some bytes", np.uint8, offset=3),
    "of a subclass": np.ma.masked_less(np.arange(5), 2),
}


@pytest.mark.parametrize("what", _ARRAYS)
def test_the_address_of_an_array_is_the_one_that_numpy_tells(what: str) -> None:
    array = _ARRAYS[what]
    assert address_of(array) == array.ctypes.data == array.__array_interface__["data"][0]
