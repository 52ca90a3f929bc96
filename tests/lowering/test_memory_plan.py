"""The arena: what lives at the same time lies apart, what does not shares."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import check, compiled, node, normal

from minidnn.ir.graph import Entry, Graph, make_variable
from minidnn.lowering.memory import TEMPORARY, plan_memory
from minidnn.ops.registry import TensorType
from minidnn.plan.layout import ALIGNMENT
from minidnn.plan.program import Address, Buffer, HostStep, Loop, NativeStep, Tensor

_FLOAT = TensorType((1,), normal(1).dtype)


def _address(index: int, offset: int = 0) -> Address:
    return Address(Buffer(TEMPORARY, index), offset)


def _step(addresses: Sequence[Address], host: bool = False) -> NativeStep | HostStep:
    if host:
        tensors = tuple(Tensor(_FLOAT, a) for a in addresses)
        return HostStep("host", lambda arrays: arrays, tensors[:1], tensors[1:])
    return NativeStep("step", Loop("copy_loop"), (7, *addresses), 1)


def _addresses(step: NativeStep | HostStep) -> list[Address]:
    if isinstance(step, HostStep):
        return [t.address for t in (*step.inputs, *step.outputs)]
    return [a for a in step.arguments if isinstance(a, Address)]


programs = st.lists(
    st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.booleans()), min_size=1, max_size=12
)
sizes = st.lists(st.integers(0, 1000), min_size=10, max_size=10)
placements = st.sets(st.integers(0, 9), max_size=3)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(programs, sizes, placements)
def test_lives_that_overlap_never_share_memory(
    used: list[tuple[list[int], bool]], nbytes: list[int], outputs: set[int]
) -> None:
    steps = [_step([_address(i) for i in indices], host) for indices, host in used]
    placed = {Buffer(TEMPORARY, i): Buffer("output", n) for n, i in enumerate(sorted(outputs))}
    moved, arena = plan_memory(steps, nbytes, placed)

    places: dict[int, int] = {}
    lives: dict[int, tuple[int, int]] = {}
    for number, ((indices, _), step) in enumerate(zip(used, moved, strict=True)):
        for index, address in zip(indices, _addresses(step), strict=True):
            if index in outputs:
                assert address.buffer == placed[Buffer(TEMPORARY, index)]
                continue
            assert address.buffer == Buffer("arena")
            assert places.setdefault(index, address.offset) == address.offset, "a temporary has one place"
            lives[index] = (lives.get(index, (number, 0))[0], number)
    for index, offset in places.items():
        assert offset % ALIGNMENT == 0
        assert offset + nbytes[index] <= arena
        for other, its in places.items():
            apart = offset + nbytes[index] <= its or its + nbytes[other] <= offset
            never_together = lives[index][1] < lives[other][0] or lives[other][1] < lives[index][0]
            assert other == index or apart or never_together or not nbytes[index] or not nbytes[other]


def test_offsets_within_a_temporary_are_kept() -> None:
    steps = [_step([_address(0), _address(1, 12)])]
    (moved,), _ = plan_memory(steps, [100, 50], {Buffer(TEMPORARY, 1): Buffer("output", 0)})
    assert isinstance(moved, NativeStep)
    assert moved.arguments == (7, Address(Buffer("arena"), 0), Address(Buffer("output", 0), 12))


def test_a_chain_needs_two_places() -> None:
    steps = [_step([_address(i), _address(i + 1)]) for i in range(9)]
    _, arena = plan_memory(steps, [64] * 10, {})
    assert arena == 128


def test_the_largest_are_placed_first_and_lowest() -> None:
    steps = [_step([_address(0), _address(1)]), _step([_address(1), _address(2)])]
    moved, arena = plan_memory(steps, [64, 128, 640], {})
    assert _addresses(moved[1])[1].offset == 0
    assert arena == 640 + 128


def test_nothing_needs_nothing() -> None:
    assert plan_memory([], [], {}) == ([], 0)


def _deep(depth: int) -> Graph:
    made: Entry = make_variable("x")
    for i in range(depth):
        made = node("relu", made, name=f"relu{i}")
    return Graph([made])


def test_a_deep_network_needs_no_more_memory_than_a_shallow_one() -> None:
    feed = {"x": normal(10, 100)}
    arenas = [compiled(_deep(depth), feed).arena_bytes for depth in (3, 30)]
    assert arenas[0] == arenas[1] == 2 * 4032


def test_a_value_that_is_read_late_is_kept() -> None:
    x = make_variable("x")
    early = node("square", x)
    made = early
    for i in range(6):
        made = node("sigmoid", made, name=f"sigmoid{i}")
    graph = Graph([node("add", made, early)])
    check(graph, {"x": normal(33, 7)})
