"""Building small graphs, running them through lowering and the executor, and comparing with the references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.ir.graph import Entry, Graph, evaluate, make_fused, make_node, make_variable
from minidnn.lowering import lower
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.ops.registry import TensorType
from minidnn.plan.program import NativeStep, Program
from minidnn.runtime.executor import Executor
from minidnn.runtime.library import library
from minidnn.runtime.threads import pool

Array = np.ndarray[Any, Any]


def node(op: str, *inputs: Entry, name: str | None = None, **attrs: Any) -> Entry:
    """The first output of a new node."""
    return make_node(op, name or op, inputs, attrs)[0]


def fuse(name: str, inputs: Sequence[Entry], outputs: Sequence[Entry]) -> Graph:
    """A graph that is one fused node: `outputs` are computed from variables in0, in1, ..."""
    made = make_fused(name, inputs, Graph(outputs))
    return Graph([made[i] for i in range(len(outputs))])


def inner(count: int) -> list[Entry]:
    """The variables in0, in1, ... of a fused node's subgraph."""
    return [make_variable(f"in{i}") for i in range(count)]


def normal(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def compiled(
    graph: Graph,
    feed: Mapping[str, Array],
    parameters: Sequence[str] = (),
    layouts: Mapping[str, str] | None = None,
    output_layouts: Sequence[str] | None = None,
) -> Program:
    """The program for a graph whose variables are the keys of `feed`; those in `parameters` are constants."""
    inputs = {
        name: (TensorType.of(a), (layouts or {}).get(name, PLAIN)) for name, a in feed.items() if name not in parameters
    }
    weights = {name: feed[name] for name in parameters}
    wanted = output_layouts if output_layouts is not None else [PLAIN] * len(graph.outputs)
    return lower(graph, weights, inputs, wanted, library().isa)


def run(program: Program, arrays: Sequence[Array]) -> list[Array]:
    return Executor(program, library(), pool)(arrays)


def channels_last(array: Array) -> Array:
    """The same numbers with dimension 1 innermost in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def check(
    graph: Graph,
    feed: Mapping[str, Array],
    parameters: Sequence[str] = (),
    layouts: Mapping[str, str] | None = None,
    output_layouts: Sequence[str] | None = None,
    tolerance: float = 1e-5,
) -> Program:
    """Compile, run and compare with the references in float64, within `tolerance` of the largest magnitude."""
    program = compiled(graph, feed, parameters, layouts, output_layouts)
    arrays = [
        channels_last(a) if (layouts or {}).get(name) == CHANNELS_LAST else np.ascontiguousarray(a)
        for name, a in feed.items()
        if name not in parameters
    ]
    actual = run(program, arrays)
    wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in feed.items()}
    for value, expected in zip(actual, evaluate(graph, wide), strict=True):
        assert value.shape == expected.shape
        assert_close(value, expected, tolerance)
    return program


def assert_close(actual: Array, expected: Array, tolerance: float) -> None:
    finite = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    np.testing.assert_allclose(actual.astype(np.float64), expected, rtol=0, atol=tolerance * scale)


def steps(program: Program) -> list[str]:
    """What each step is: its loop, or ``host``."""
    return [s.loop.name if isinstance(s, NativeStep) else "host" for s in program.steps]


def compared(
    op: str,
    feed: Mapping[str, Array],
    parameters: Sequence[str] = (),
    layouts: Mapping[str, str] | None = None,
    tolerance: float = 1e-4,
    **attrs: Any,
) -> list[Array]:
    """What kernels give for one operator, of which NumPy runs no step, after a comparison with its reference."""
    made = make_node(op, op, [make_variable(name) for name in feed], attrs)
    graph = Graph([made[i] for i in range(made.num_outputs)])
    program = compiled(graph, feed, parameters, layouts)
    assert "host" not in steps(program), str(program)
    arrays = [
        channels_last(a) if (layouts or {}).get(name) == CHANNELS_LAST else np.ascontiguousarray(a)
        for name, a in feed.items()
        if name not in parameters
    ]
    assert made.op is not None
    actual, expected = run(program, arrays), made.op.compute(made.attrs, *feed.values())
    for got, wanted in zip(actual, expected, strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), tolerance, tolerance)
    return actual
