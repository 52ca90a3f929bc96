"""AVX-512's depthwise kernels of integers, with VNNI and without, executed: bit by bit what NumPy gives."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from bochs_machine import BochsMachine
from depthwise_problem import TAILS, WINDOWS, DepthwiseProblem
from guest_memory import GuestMemory

from minidnn_kernels.codegen import emit_object
from minidnn_kernels.depthwise import DepthwiseSpec
from minidnn_kernels.isa import Isa, get_isa

# VNNI on vectors of 256 bits, which AVX-VNNI would write in another way.
_NARROW = replace(get_isa("avx512vnni"), lanes=8, registers=16)
_ISAS = {"avx512vnni": get_isa("avx512vnni"), "avx512": get_isa("avx512"), "256 bits": _NARROW}


def _solve(bochs: BochsMachine, isa: Isa, problems: Sequence[DepthwiseProblem]) -> None:
    """All problems in one run; each kernel is linked once."""
    names: dict[DepthwiseSpec, str] = {}
    for problem in problems:
        names.setdefault(problem.spec, f"kernel{len(names)}")
    program = bochs.link({name: (emit_object(spec.emit(isa), isa), spec.name) for spec, name in names.items()})
    memory, targets = GuestMemory(), []
    for problem in problems:
        arguments, target = problem.place(memory)
        memory.call(names[problem.spec], *arguments)
        targets.append(target)
    outcome = bochs.run(program, memory)
    for problem, target in zip(problems, targets, strict=True):
        problem.check(outcome.read(*target))


@pytest.mark.parametrize("data", ["u8", "s8"])
@pytest.mark.parametrize("isa", _ISAS.values(), ids=_ISAS)
def test_depthwise_windows(bochs: BochsMachine, isa: Isa, data: str) -> None:
    problems = [
        DepthwiseProblem(isa, data, channels, tail=TAILS[0], seed=channels, padded=channels % 3)
        for channels in (1, 3, *(isa.lanes * n // 4 for n in (3, 4, 5, 8, 13, 16, 17, 31)))
    ]
    windows = zip(WINDOWS, itertools.cycle(TAILS))
    problems += [DepthwiseProblem(isa, data, 5 * isa.lanes + 1, window, tail) for window, tail in windows]
    ends = itertools.product({"u8": (0, 255), "s8": (-128, 127)}[data], (-128, 127))
    problems += [DepthwiseProblem(isa, data, 4 * isa.lanes, number=n, weight=w) for n, w in ends]
    _solve(bochs, isa, problems)
