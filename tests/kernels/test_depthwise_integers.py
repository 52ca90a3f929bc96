"""The depthwise microkernel of integers: on every row of the ISA table, bit by bit what int32 arithmetic gives."""

from __future__ import annotations

import itertools
import re

import pytest
from depthwise_problem import TAILS, WINDOWS, DepthwiseProblem, solve
from microkernels import Machine

from minidnn_kernels.codegen import emit_asm
from minidnn_kernels.depthwise import DepthwiseSpec
from minidnn_kernels.isa import ISAS, Isa
from minidnn_kernels.tap_dot import tap_dot_for

every_data = pytest.mark.parametrize("data", ["u8", "s8"])


@every_data
def test_any_number_of_channels(any_machine: Machine, data: str) -> None:
    isa = any_machine.isa
    unit = tap_dot_for(isa, data).vectors * isa.lanes
    for channels in (
        1,
        isa.lanes - 1,
        isa.lanes,
        isa.lanes + 1,
        unit - 1,
        unit,
        unit + 1,
        2 * unit,
        2 * unit + isa.lanes,
    ):
        for tail in TAILS[:2]:
            solve(any_machine, DepthwiseProblem(isa, data, channels, tail=tail, seed=channels, padded=channels % 3))


@every_data
def test_windows_of_every_kind(any_machine: Machine, data: str) -> None:
    isa = any_machine.isa
    unit = tap_dot_for(isa, data).vectors * isa.lanes
    for window, tail in zip(WINDOWS, itertools.cycle(TAILS)):
        solve(any_machine, DepthwiseProblem(isa, data, unit + 2 * isa.lanes - 1, window, tail))


@every_data
def test_the_ends_of_all_ranges(any_machine: Machine, data: str) -> None:
    ends = {"u8": (0, 255), "s8": (-128, 127)}[data]
    for number, weight, window in itertools.product(ends, (-128, 127), (WINDOWS[0], (16, 8, 1, 1, 1))):
        channels = any_machine.isa.lanes + 1
        solve(any_machine, DepthwiseProblem(any_machine.isa, data, channels, window, number=number, weight=weight))


_PRODUCTS = {
    "vnni": r"\bvpdpbusd\b",
    "amx": r"\bvpdpbusd\b",
    "vnniint8": r"\bvpdpb[us]sd\b",
    "maddwd": r"\bpmaddwd\b",
    "split": r"\bvpmaddwd\b",
    "widen": r"\bsm(?:lal|ull)2?\b",
    "sdot": r"\bsdot\b",
    "mmla": r"\bsdot\b",
}


@every_data
@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_products_are_those_of_integers(isa: Isa, data: str) -> None:
    dot = tap_dot_for(isa, data)
    spec = DepthwiseSpec(3, 3, 1, 1, 2, TAILS[3].epilogue(), data, dot.vectors)
    text = emit_asm(spec.emit(isa), isa)
    assert len(re.findall(_PRODUCTS[isa.dot], text)) == 2 * 3 * -(-3 // dot.group) * dot.vectors
    assert not re.search(r"vfmadd|\bfmla\b|mulps|\bfmul\b", text)
