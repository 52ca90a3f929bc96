"""Whole programs for AArch64, executed: microkernels, the loops around them, and the driver that runs their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import every_kernel
import int8_layers
import pytest
import small_graphs
from bfloat16_layers import LAYERS, kernels
from guest_machine import GuestMachine
from int8_layers import Layer
from microkernels import address
from small_graphs import Array, check, node, normal, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering import panels
from minidnn.runtime import executor, memory, threads
from minidnn.runtime.library import Library
from minidnn.runtime.threads import ThreadPool
from minidnn_kernels.isa import ISAS


def _recorded(make: Callable[[int], Array]) -> Callable[[int], Array]:
    """Words whose address was taken."""

    def made(count: int) -> Array:
        words = make(count)
        address(words)
        return words

    return made


def _pool(machine: GuestMachine) -> ThreadPool:
    """The program's thread is the guest's only one."""

    def run_loop(*numbers: int) -> None:
        machine.invoke(machine.library.loop("run_loop"), numbers)

    made = ThreadPool(lambda: (run_loop, run_loop))
    made.threads = 1
    return made


@pytest.fixture
def layers(any_machine: GuestMachine) -> Iterator[GuestMachine]:
    """Programs that `small_graphs` and `int8_layers` make run in the guest."""

    def library(*_: Any) -> Library:
        return any_machine.library

    words = _recorded(threads.aligned_words)
    with (
        patch.multiple(threads, aligned_words=words),
        patch.multiple(executor, aligned_words=words, address_of=address),
        patch.multiple(memory, address_of=address),
        patch.multiple(panels, _address_of=address),
    ):
        pool = _pool(any_machine)
        with (
            patch.multiple(small_graphs, library=library, pool=pool),
            patch.multiple(int8_layers, Library=library, pool=pool),
            patch.multiple(every_kernel, library=library),
        ):
            yield any_machine


# Each row compiles its loops for itself.
on_the_last_row = pytest.mark.parametrize("any_machine", [ISAS[-1].name], indirect=True)


@on_the_last_row
def test_int8_layers_are_exact(layers: GuestMachine) -> None:
    for layer in (
        Layer((2, 19, 9, 10), 37, kernel=3, pad=(1, 1), residual="int8"),
        Layer((1, 40, 6, 5), 21, out="float32", residual="float32"),
    ):
        for signed in (False, True):
            graph, parameters, _ = layer.node()
            int8_layers.assert_exact(layers.isa.name, graph, parameters, layer.feed(signed))


@on_the_last_row
def test_weights_in_bfloat16(layers: GuestMachine) -> None:
    for name in ("3x3", "1x1", "odd depth", "groups", "dense"):
        layer = LAYERS[name]
        program = check(layer.graph(), layer.feed(True), ["w", "b"])
        assert any(kernel.startswith("bf16_igemm") for kernel in kernels(program)) == layer.is_paired(layers.isa)


@on_the_last_row
def test_attention(layers: GuestMachine) -> None:
    given = {"q": normal(2, 6, 13, 9), "k": normal(2, 3, 40, 9, seed=1), "v": normal(2, 3, 40, 21, seed=2)}
    given["m"] = normal(2, 1, 13, 40, seed=5)
    made = node("attention", *map(make_variable, given), causal="last", use_mask=True)
    assert "attention_loop" in steps(check(Graph([made]), given))


@pytest.mark.slow
def test_every_kernel(layers: GuestMachine) -> None:
    every_kernel.run()
    every_kernel.run_integers()
