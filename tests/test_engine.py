"""The door to the compiler: every array is checked there, and whatever its memory looks like, read right."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidnn as mx
from minidnn import engine
from minidnn.engine import CompiledGraph, compile_graph, contiguous, eager
from minidnn.errors import GraphError, OpError, ShapeError, TypeMismatchError
from minidnn.ir.graph import Graph, evaluate, make_node, make_variable
from minidnn.lowering import lower
from minidnn.ops.registry import TensorType, get_op
from minidnn.plan.program import Program
from minidnn.runtime.program_cache import Owner, ProgramCache

Array = np.ndarray[Any, Any]


def _tensor(*shape: int, dtype: Any = np.float32) -> TensorType:
    return TensorType(shape, np.dtype(dtype))


def _normal(*shape: int, seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def _convolution(shape: tuple[int, ...] = (2, 3, 8, 9)) -> tuple[CompiledGraph, Graph, dict[str, Array]]:
    x, w = make_variable("x"), make_variable("w")
    attrs = {"kernel": (3, 3), "num_filter": 5, "no_bias": True}
    graph = Graph([make_node("relu", "relu", [make_node("convolution", "conv", [x, w], attrs)[0]])[0]])
    parameters = {"w": _normal(5, 3, 3, 3, seed=1)}
    return compile_graph(graph, parameters, {"x": _tensor(*shape)}), graph, parameters


def _unaligned(x: Array) -> Array:
    memory = np.zeros(x.nbytes + 1, np.uint8)[1:]
    unaligned = memory.view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    return unaligned


def _read_only(x: Array) -> Array:
    frozen = x.copy()
    frozen.flags.writeable = False
    return frozen


class _Subclass(np.ndarray[Any, Any]):
    pass


_MEMORY: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda x: x,
    "read-only": _read_only,
    "foreign byte order": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "unaligned": _unaligned,
    "channels last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
    "Fortran order": np.asfortranarray,
    "every second of something": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: np.ascontiguousarray(x[:, ::-1, :, ::-1])[:, ::-1, :, ::-1],
    "within something": lambda x: np.pad(x, 2)[2:-2, 2:-2, 2:-2, 2:-2],
    "a subclass": lambda x: x.view(_Subclass),
    "unaligned channels last": lambda x: np.moveaxis(_unaligned(np.ascontiguousarray(np.moveaxis(x, 1, -1))), -1, 1),
    "foreign channels last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)).astype(">f4"), -1, 1),
}


@pytest.mark.parametrize("memory", _MEMORY)
def test_memory_of_any_kind_is_read_right(memory: str) -> None:
    run, graph, parameters = _convolution()
    x = _normal(2, 3, 8, 9)
    given = _MEMORY[memory](x)
    np.testing.assert_array_equal(np.asarray(given, np.float32), x)
    (actual,) = run([given])
    (expected,) = evaluate(graph, {"x": x, **parameters})
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert actual.flags.c_contiguous
    assert actual.dtype == np.float32


@pytest.mark.parametrize("memory", _MEMORY)
def test_contiguous_keeps_the_numbers(memory: str) -> None:
    x = _normal(2, 3, 8, 9)
    made = contiguous(_MEMORY[memory](x))
    assert made.flags.c_contiguous
    assert made.flags.aligned
    assert made.dtype.isnative
    np.testing.assert_array_equal(made, x)


def test_contiguous_copies_only_what_it_must() -> None:
    x = _normal(3, 4)
    assert contiguous(x) is x
    assert contiguous(x.T) is not x


@pytest.mark.parametrize("shape", [(), (0,), (0, 3, 4), (1, 1, 1), (5, 1, 7)])
def test_contiguous_of_small_things(shape: tuple[int, ...]) -> None:
    x = np.asarray(_normal(*shape))
    np.testing.assert_array_equal(contiguous(x.T), x.T)


def test_memory_that_repeats_itself_is_read_right() -> None:
    run, graph, parameters = _convolution()
    x = np.broadcast_to(_normal(1, 3, 1, 9), (2, 3, 8, 9))
    np.testing.assert_allclose(run([x])[0], evaluate(graph, {"x": x, **parameters})[0], atol=1e-4)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16", "float64"])
def test_foreign_byte_order_of_every_dtype(dtype: str) -> None:
    graph = Graph([make_node("transpose", "transpose", [make_variable("x")])[0]])
    run = compile_graph(graph, {}, {"x": _tensor(3, 4, 5, dtype=dtype)})
    x = (_normal(3, 4, 5) * 10).astype(dtype)
    (actual,) = run([x.astype(x.dtype.newbyteorder("S"))])
    assert actual.dtype == x.dtype
    np.testing.assert_array_equal(actual, x.T)


# --- what does not fit -----------------------------------------------------------------------------


def test_a_wrong_shape_is_refused_by_name() -> None:
    run, _, _ = _convolution()
    for shape in ((2, 3, 8), (1, 3, 8, 9), (2, 3, 8, 9, 1), (0, 3, 8, 9), ()):
        with pytest.raises(ShapeError, match=r"input 'x' must have shape \(2, 3, 8, 9\), got"):
            run([np.zeros(shape, np.float32)])


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "bool", "complex64", "object", "U1", "M8[s]"])
def test_a_wrong_dtype_is_refused_by_name(dtype: str) -> None:
    run, _, _ = _convolution()
    with pytest.raises(TypeMismatchError, match="input 'x' must be float32, got"):
        run([np.zeros((2, 3, 8, 9), dtype)])


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_arrays_is_refused(count: int) -> None:
    run, _, _ = _convolution()
    with pytest.raises(ShapeError, match=f"expected 1 inputs, got {count}"):
        run([_normal(2, 3, 8, 9)] * count)


def test_a_graph_that_does_not_fit_its_types_is_refused_by_node() -> None:
    with pytest.raises(ShapeError, match=r"node 'conv': convolution: data has 4 channels but weight"):
        _convolution((2, 4, 8, 9))
    with pytest.raises(ShapeError, match=r"node 'conv': convolution: data must have 4 dimensions"):
        _convolution((2, 3, 8))
    with pytest.raises(ShapeError, match=r"node 'conv': convolution: data must not be empty"):
        _convolution((2, 3, 0, 9))
    with pytest.raises(ShapeError, match=r"node 'conv': convolution: kernel .* does not fit"):
        _convolution((1, 3, 8, 2))


def test_a_variable_that_is_neither_input_nor_parameter_is_refused() -> None:
    graph = Graph([make_node("add", "add", [make_variable("x"), make_variable("forgotten")])[0]])
    with pytest.raises(GraphError, match="'forgotten'"):
        compile_graph(graph, {}, {"x": _tensor(3)})


# --- what a compiled graph keeps ---------------------------------------------------------------------


def test_results_do_not_change_with_what_was_run_before() -> None:
    run, _, _ = _convolution()
    x = _normal(2, 3, 8, 9)
    before = run([x])[0].copy()
    for scale in (np.nan, np.inf, 1e38, 0):
        with np.errstate(invalid="ignore", over="ignore"):
            run([x * np.float32(scale)])
    np.testing.assert_array_equal(run([x])[0], before)


def test_a_result_can_be_the_next_input() -> None:
    graph = Graph([make_node("add_scalar", "add", [make_variable("x")], {"scalar": 1.0})[0]])
    run = compile_graph(graph, {}, {"x": _tensor(7, 9)})
    x = np.zeros((7, 9), np.float32)
    for _ in range(20):
        (x,) = run([x])
    np.testing.assert_array_equal(x, 20)


def test_the_program_can_be_looked_at() -> None:
    run, _, _ = _convolution()
    assert "conv" in str(run.program)
    assert run.program.outputs[0].type == _tensor(2, 5, 6, 7)


# --- eager operators -------------------------------------------------------------------------------


def _dense(x: mx.np.ndarray, w: mx.np.ndarray, b: mx.np.ndarray) -> Array:
    made: Array = mx.npx.fully_connected(x, w, b, num_hidden=w.shape[0], no_bias=False).asnumpy()
    return made


@pytest.mark.parametrize("changed", ["weight", "bias"])
def test_weights_that_are_written_to_are_read_again(changed: str) -> None:
    x, w, b = mx.np.ones((2, 3)), mx.np.ones((4, 3)), mx.np.zeros((4,))
    np.testing.assert_array_equal(_dense(x, w, b), 3)
    if changed == "weight":
        w[1] = 2
        np.testing.assert_array_equal(_dense(x, w, b), [[3, 6, 3, 3]] * 2)
    else:
        b[:] = 10
        np.testing.assert_array_equal(_dense(x, w, b), 13)


def test_two_biases_with_one_weight_are_not_mixed_up() -> None:
    x, w = mx.np.ones((2, 3)), mx.np.ones((4, 3))
    first, second = mx.np.zeros((4,)), mx.np.ones((4,))
    for _ in range(3):
        np.testing.assert_array_equal(_dense(x, w, first), 3)
        np.testing.assert_array_equal(_dense(x, w, second), 4)


def test_programs_of_a_weight_go_with_it() -> None:
    w = mx.np.ones((4, 3))
    _dense(mx.np.ones((2, 3)), w, mx.np.zeros((4,)))
    gone = weakref.ref(w._data)
    assert gone() is not None
    del w
    gc.collect()
    assert gone() is None


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """The programs that are made from here on; none of those from before are found."""
    made: list[Program] = []

    def note(*args: Any) -> Program:
        made.append(lower(*args))
        return made[-1]

    monkeypatch.setattr("minidnn.lowering.lower", note)
    monkeypatch.setattr(eager, "_programs", ProgramCache(8, 1 << 20))
    monkeypatch.setattr(eager, "_without_weights", Owner())
    return made


def test_programs_are_kept_within_bounds(lowered: list[Program]) -> None:
    w, b = mx.np.ones((4, 3)), mx.np.zeros((4,))
    for n in range(1, 20):
        mx.npx.relu(mx.np.ones((n,)))
        np.testing.assert_array_equal(_dense(mx.np.ones((n, 3)), w, b), 3)
    assert len(lowered) == 38
    assert len(eager._programs) <= 8


def test_tables_of_programs_are_kept_within_bounds(lowered: list[Program]) -> None:
    """Large images have large tables of which pixel meets which."""
    w, largest = mx.np.ones((2, 16, 3, 3)), 0
    for n in range(64, 114):
        mx.npx.convolution(mx.np.ones((1, 16, n, n)), w, kernel=(3, 3), num_filter=2, no_bias=True)
        kept = {id(c): c.nbytes for p in _kept_programs() for c in p.own_constants}
        largest = max(largest, sum(kept.values()))
    assert sum(c.nbytes for p in lowered for c in p.own_constants) > 2 << 20
    assert largest <= 1 << 20


def _kept_programs() -> list[Program]:
    return [entry.executor.program for entry in eager._programs._alive().values()]


def _dot_of(x: mx.np.ndarray, w: mx.np.ndarray) -> mx.np.ndarray:
    return mx.npx.fully_connected(x, w, num_hidden=w.shape[0], no_bias=True, flatten=False)


def _convolve(x: mx.np.ndarray, w: mx.np.ndarray, groups: int = 1) -> mx.np.ndarray:
    attrs = {"kernel": (3, 3), "pad": (1, 1), "num_filter": w.shape[0], "num_group": groups, "no_bias": True}
    return mx.npx.convolution(x, w, **attrs)


def _deconvolve(x: mx.np.ndarray, w: mx.np.ndarray, stride: int = 2) -> mx.np.ndarray:
    attrs = {"kernel": w.shape[2:], "stride": (stride,) * 2, "pad": (1, 1), "num_filter": w.shape[1], "no_bias": True}
    return mx.npx.deconvolution(x, w, **attrs)


_WEIGHTED: dict[str, tuple[tuple[int, ...], Callable[[int], tuple[int, ...]], Callable[..., Any]]] = {
    "dense": ((40, 70), lambda n: (n, 70), _dot_of),
    "convolution": ((24, 8, 3, 3), lambda n: (1, 8, n, 9), _convolve),
    "Winograd": ((64, 64, 3, 3), lambda n: (1, 64, 20, 20 + n), _convolve),
    "depthwise": ((24, 1, 3, 3), lambda n: (1, 24, n, 9), lambda x, w: _convolve(x, w, 24)),
    "few channels": ((24, 3, 3, 3), lambda n: (1, 3, n, 9), _convolve),
    "phases": ((24, 8, 4, 4), lambda n: (1, 24, n, 9), _deconvolve),
    "flipped": ((24, 24, 3, 3), lambda n: (1, 24, n, 9), lambda x, w: _deconvolve(x, w, 1)),
}


@pytest.mark.parametrize("kind", _WEIGHTED)
def test_programs_of_many_shapes_share_packed_weights(lowered: list[Program], kind: str) -> None:
    shape, data, call = _WEIGHTED[kind]
    weights = [mx.np.array(_normal(*shape, seed=i)) for i in range(2)]
    fresh = [mx.np.array(w.asnumpy()) for w in weights]
    held: set[int] = set()
    for n in range(1, 15):
        for w, other in zip(weights, fresh, strict=True):
            x = mx.np.array(_normal(*data(n), seed=n))
            actual = call(x, w).asnumpy()
            held |= {id(c) for i, c in enumerate(lowered[-1].constants) if i in lowered[-1].lent and c.size >= w.size}
            np.testing.assert_array_equal(actual, call(x, mx.np.array(other.asnumpy())).asnumpy())
    # A tile's panels are of one to four vectors.
    assert len(held) <= 2 * 4


def test_one_weight_in_different_operators_is_packed_for_each() -> None:
    """A convolution, and a transposed one with the same shapes: as many numbers, in another order."""
    x, w = mx.np.array(_normal(1, 24, 7, 9)), mx.np.array(_normal(24, 24, 3, 3))
    for call in (_convolve, lambda x, w: _deconvolve(x, w, 1), _deconvolve):
        np.testing.assert_array_equal(call(x, w).asnumpy(), call(x, mx.np.array(w.asnumpy())).asnumpy())


def test_packed_weights_follow_what_is_written_to_them() -> None:
    w = mx.np.array(_normal(40, 70))
    for n in range(1, 8):
        x = _normal(n, 70, seed=n)
        w[n] = n
        w[:, 3] += 1
        np.testing.assert_allclose(_dot_of(mx.np.array(x), w).asnumpy(), x @ w.asnumpy().T, rtol=1e-4, atol=1e-4)


def test_weights_that_are_computed_for_each_call_are_let_go() -> None:
    x, before = mx.np.ones((3, 70)), len(eager._programs)
    for i in range(30):
        w = mx.np.full((40, 70), float(i))
        np.testing.assert_array_equal(_dot_of(x, w).asnumpy(), 70 * i)
    del w
    gc.collect()
    assert len(eager._programs) <= before + 1


def test_many_biases_of_one_weight_are_let_go() -> None:
    x, w = mx.np.ones((2, 3)), mx.np.ones((4, 3))
    gone = []
    for i in range(20):
        b = mx.np.full((4,), float(i))
        np.testing.assert_array_equal(_dense(x, w, b), 3 + i)
        gone.append(weakref.ref(b))
    del b
    gc.collect()
    assert sum(reference() is not None for reference in gone) <= 4


def test_attributes_tell_programs_apart() -> None:
    x = mx.np.array([1.0, -2.0])
    for slope in (0.1, 0.2, 0.1):
        np.testing.assert_allclose(mx.npx.leaky_relu(x, slope=slope).asnumpy(), [1, -2 * slope], rtol=1e-6)
    np.testing.assert_array_equal((x / 0.0).asnumpy(), [np.inf, -np.inf])
    np.testing.assert_array_equal((x / -0.0).asnumpy(), [-np.inf, np.inf])


def test_an_operator_without_a_kernel_is_its_reference() -> None:
    op = get_op("arctan")
    x = mx.np.array([0.5, 1.5])
    (result,) = eager.run_op(op, op.make_attrs({}), [x])
    np.testing.assert_array_equal(result, np.arctan(x.asnumpy()))


def test_an_operator_that_does_not_fit_is_refused() -> None:
    op = get_op("add")
    with pytest.raises(OpError, match=r"add: shapes \(2,\) and \(3,\)"):
        eager.run_op(op, op.make_attrs({}), [mx.np.ones((2,)), mx.np.ones((3,))])


def test_info_tells_what_runs() -> None:
    told = engine.info()
    machine = {"cpu", "cpu_features", "isa", "threads", "threading"}
    assert told.keys() == machine | {"cache_folder", "cache_limit_bytes", "settings"}
    assert told["threads"] == engine.get_num_threads()
