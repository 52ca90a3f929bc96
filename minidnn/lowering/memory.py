"""Memory planning: temporaries share one arena where their lives do not overlap.

Greedy by size (Y. Pisarchyk and J. Lee, Efficient Memory Management for Deep Neural Net Inference, 2020):
the largest first, each at the lowest offset that is free for its whole life.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from minidnn.plan.layout import ALIGNMENT
from minidnn.plan.program import Address, Buffer, Check, HostStep, NativeStep, Tensor

__all__ = ["TEMPORARY", "plan_memory"]

# The kind of buffer that exists only until memory is planned.
TEMPORARY = "temporary"
_ARENA = Buffer("arena")

Step = NativeStep | HostStep | Check


def _addresses(step: Step) -> Iterator[Address]:
    if isinstance(step, NativeStep):
        yield from (a for i in step.places if isinstance(a := step.arguments[i], Address))
    elif isinstance(step, Check):
        yield step.words.address
    else:
        yield from (t.address for t in (*step.inputs, *step.outputs))


def plan_memory(steps: Sequence[Step], sizes: Sequence[int], placed: Mapping[Buffer, Buffer]) -> tuple[list[Step], int]:
    """Steps with every temporary moved to the arena, or where `placed` says, and the arena's size in bytes."""
    lives: dict[int, tuple[int, int]] = {}
    for number, step in enumerate(steps):
        for address in _addresses(step):
            if address.buffer.kind == TEMPORARY and address.buffer not in placed:
                first, _ = lives.get(address.buffer.index, (number, number))
                lives[address.buffer.index] = (first, number)
    offsets: dict[int, int] = {}
    arena = 0
    for index in sorted(lives, key=lambda i: (-sizes[i], lives[i], i)):
        taken = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if lives[other][0] <= lives[index][1] and lives[index][0] <= lives[other][1]
        )
        offset = 0
        for begin, end in taken:
            if offset + sizes[index] <= begin:
                break
            offset = max(offset, _aligned(end))
        offsets[index] = offset
        arena = max(arena, _aligned(offset + sizes[index]))

    def move(address: Address) -> Address:
        if address.buffer.kind != TEMPORARY:
            return address
        if address.buffer in placed:
            return Address(placed[address.buffer], address.offset)
        return Address(_ARENA, offsets[address.buffer.index] + address.offset)

    return [_moved(step, move) for step in steps], arena


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _moved(step: Step, move: Callable[[Address], Address]) -> Step:
    if isinstance(step, NativeStep):
        arguments = list(step.arguments)
        for i in step.places:
            argument = arguments[i]
            if isinstance(argument, Address):
                arguments[i] = move(argument)
        return NativeStep(step.name, step.loop, tuple(arguments), step.parts, step.cost, step.scratch, step.result)
    if isinstance(step, Check):
        return Check(dataclasses.replace(step.words, address=move(step.words.address)), step.refuse, step.decides)

    def tensors(group: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(dataclasses.replace(t, address=move(t.address)) for t in group)

    return dataclasses.replace(step, inputs=tensors(step.inputs), outputs=tensors(step.outputs))
