"""Int8 layers as programs: bit for bit what the operators' integer references give."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from int8_layers import HOST_ISAS, Layer, assert_exact, integers, run_on

from minidnn.ir.graph import Graph, evaluate, make_fused, make_node, make_variable
from minidnn.lowering import lower
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Kernel, NativeStep, Program
from minidnn.runtime.code_cache import CodeCache, default_folder
from minidnn.runtime.executor import Executor
from minidnn.runtime.library import Library
from minidnn.runtime.threads import pool
from minidnn_kernels.dot import best_dot, dot_for
from minidnn_kernels.isa import ISAS, get_isa
from minidnn_kernels.matmul import MATMUL_ARGUMENTS
from minidnn_kernels.tile import TileSpec

_RNG = np.random.default_rng(11)


LAYERS = {
    "3x3": Layer((1, 16, 9, 11), 32, kernel=3, pad=(1, 1)),
    "3x3 of 3 channels, stride 2, two images": Layer((2, 3, 12, 13), 24, kernel=3, stride=2, pad=(1, 1), out="int8"),
    "1x1 to 70 with int8 residual": Layer((1, 64, 7, 7), 70, residual="int8"),
    "1x1 with float residual": Layer((1, 30, 5, 7), 33, residual="float32", out="float32"),
    "depthwise 3x3 with residual": Layer((1, 33, 10, 9), 33, kernel=3, pad=(1, 1), groups=33, residual="int8"),
    "depthwise 5x5 stride 2": Layer((2, 30, 10, 9), 30, kernel=5, stride=2, pad=(2, 2), groups=30, out="int32"),
    "grouped": Layer((1, 24, 10, 9), 36, kernel=3, pad=(1, 1), groups=4, out="int8"),
    "scales of samples": Layer((3, 16, 9, 11), 35, kernel=3, pad=(1, 1), out="float32", by_sample=True),
    "scales of samples, 1x1": Layer((3, 30, 5, 7), 33, residual="float32", out="int8", by_sample=True),
    "scales of samples, depthwise": Layer((3, 33, 10, 9), 33, kernel=3, pad=(1, 1), groups=33, by_sample=True),
    "scales of samples, by Winograd": Layer((3, 32, 14, 14), 40, kernel=3, pad=(1, 1), by_sample=True),
    "a scale of one sample": Layer((1, 16, 5, 5), 16, out="float32", by_sample=True),
    "sums": Layer((1, 21, 4, 5), 17, kernel=2, out="int32"),
}


@pytest.mark.parametrize("signed", [False, True], ids=["uint8", "int8"])
@pytest.mark.parametrize("isa", HOST_ISAS)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
def test_layer_is_one_step_and_exact(layer: Layer, isa: str, signed: bool) -> None:
    graph, parameters, _ = layer.node()
    program = assert_exact(isa, graph, parameters, layer.feed(signed))
    computing = [s for s in program.steps if not (isinstance(s, NativeStep) and s.loop.name == "copy_loop")]
    assert [s.name for s in computing if s.name != "cast"] == ["layer"]


def test_dense_layer_is_exact_up_to_the_extremes() -> None:
    data = np.full((3, 1037), 255, np.uint8)
    weight = np.full((19, 1037), 127, np.int8)
    weight[::2] = -127
    parameters = {"weight": weight, "bias": np.arange(19, dtype=np.int32)}
    attrs = {"num_hidden": 19}
    inputs = [make_variable("data"), make_variable("weight"), make_variable("bias")]
    graph = Graph([make_node("quantized_fully_connected", "dense", inputs, attrs)[0]])
    library = Library(next(i for i in ISAS if i.name == HOST_ISAS[-1]), CodeCache(default_folder()))
    program = lower(graph, parameters, {"data": (TensorType.of(data), "plain")}, ["plain"], library.isa)
    (result,) = Executor(program, library, pool)([data])
    wanted = data.astype(np.int64) @ weight.astype(np.int64).T + np.arange(19)
    np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("isa", HOST_ISAS)
@pytest.mark.parametrize("data", ["u8", "s8"])
def test_an_input_is_copied_where_there_is_no_room_behind_it_that_a_step_reads(isa: str, data: str) -> None:
    for depth, shape in itertools.product((1, 3, 4, 8, 12, 16, 20, 24, 37), ("small", "largest")):
        weight = np.full((5, depth), 1 if shape == "small" else 127, np.int8)
        known = {"w": weight, "b": np.arange(5, dtype=np.int32)}
        dense = make_node("quantized_fully_connected", "dense", [make_variable(n) for n in "xwb"], {"num_hidden": 5})
        feed = {"x": integers((3, depth), data == "s8")}
        program = assert_exact(isa, Graph([dense[0]]), known, feed)
        dot = dot_for(get_isa(isa), data, best_dot(get_isa(isa), data, weight.T[None, None]))
        beyond = dot.row_bytes(-(-depth // dot.group)) > depth
        assert [s.name for s in program.steps] == ["copy", "dense"][not beyond :]


def _tile_of(program: Program) -> TileSpec:
    """That of the layer, whose step is the last one but for copies."""
    step = [s for s in program.steps if isinstance(s, NativeStep) and s.loop.name == "matmul_loop"][-1]
    tile = step.arguments[MATMUL_ARGUMENTS.position("tile")]
    assert isinstance(tile, Kernel) and isinstance(tile.spec, TileSpec)
    return tile.spec


def _epilogue_of(isa: str, layer: Layer) -> list[str]:
    """The operations of the layer's epilogue, which is exact."""
    graph, parameters, _ = layer.node()
    program = assert_exact(isa, graph, parameters, layer.feed(False))
    return [instruction.op for instruction in _tile_of(program).epilogue.instructions]


@pytest.mark.parametrize("out", ["int8", "uint8", "float32"])
def test_uint8_needs_no_relu(out: str) -> None:
    made = _epilogue_of(HOST_ISAS[-1], Layer((1, 16, 5, 5), 16, out=out))
    assert ("relu" in made) == (out != "uint8")


@pytest.mark.parametrize("isa", HOST_ISAS)
def test_signed_data_is_widened_where_that_takes_fewer_instructions(isa: str) -> None:
    wide = (1, 24, 8, 5)
    cases = [(wide, 40, 127, True, True), (wide, 40, 127, False, False), (wide, 40, 1, True, isa == "sse")]
    cases += [((1, 24, 5, 5), 40, 127, True, False), (wide, 30, 127, True, False)]
    for shape, filters, size, signed, expected in cases:
        weight = np.where(integers((filters, shape[1], 1, 1), True) > 0, size, -size).astype(np.int8)
        attrs = {"kernel": (1, 1), "num_filter": filters}
        known = {"w": weight, "b": np.arange(filters, dtype=np.int32)}
        inputs = [make_variable(n) for n in "xwb"]
        graph = Graph([make_node("quantized_convolution", f"conv{i}", inputs, attrs)[0] for i in range(2)])
        program = assert_exact(isa, graph, known, {"x": integers(shape, signed)})
        widens = expected and get_isa(isa).dot in ("split", "maddwd")
        assert (_tile_of(program).data == "s16") == widens, (shape, filters, size, signed)
        assert [s.name for s in program.steps].count("cast") == widens


_BOUNDS = [(0.0, 6.0), (0.0, 1.0), (-1.0, 0.7), (0.5, 1.5), (2.0, 1.0), (-3.0, -1.0), (4.0, 5.0), (-np.inf, np.inf)]


@pytest.mark.parametrize("isa", HOST_ISAS)
@pytest.mark.parametrize("out", ["int8", "uint8"])
def test_a_clip_and_the_clamp_of_a_quantized_output_are_one(isa: str, out: str) -> None:
    for low, high in _BOUNDS:
        layer = Layer((1, 16, 5, 5), 19, out=out, clip=(low, high), scale=0.0011)
        made = _epilogue_of(isa, layer)
        assert "clip" not in made
        assert made[-1] == ("at_most" if out == "uint8" and low <= 0 else "saturate"), (low, high)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("out", ["int8", "uint8", "float32"])
def test_elementwise_group_of_integers_is_exact(dtype: type, out: str) -> None:
    a, b = make_variable("a"), make_variable("b")
    scales = {"scale_a": np.array([0.013], np.float32), "scale_b": np.array([0.0071], np.float32)}
    inner = [make_variable(f"in{i}") for i in range(4)]
    left = make_node("dequantize", "left", [inner[0], inner[1]])[0]
    right = make_node("dequantize", "right", [inner[2], inner[3]])[0]
    total = make_node("relu", "relu", [make_node("add", "add", [left, right])[0]])[0]
    outputs = [total]
    if out != "float32":
        attrs = {"out_type": out, "min_calib_range": -1.5, "max_calib_range": 1.25}
        quantized = make_node("quantize", "quantized", [total], attrs)
        outputs = [quantized[0], quantized[1]]
    node = make_fused("group", [a, make_variable("scale_a"), b, make_variable("scale_b")], Graph(outputs))
    graph = Graph([node[i] for i in range(len(outputs))])
    feed = {"a": integers((2, 5, 3, 7), dtype is np.int8), "b": integers((2, 5, 3, 7), dtype is np.int8)}
    library = Library(next(i for i in ISAS if i.name == HOST_ISAS[-1]), CodeCache(default_folder()))
    inputs = {name: (TensorType.of(array), "plain") for name, array in feed.items()}
    program = lower(graph, scales, inputs, ["plain"] * len(outputs), library.isa)
    assert [type(s) for s in program.steps if s.name == "group"] == [NativeStep]
    results = Executor(program, library, pool)(list(feed.values()))
    for result, wanted in zip(results, evaluate(graph, {**scales, **feed}), strict=True):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_max_pooling_keeps_integers(dtype: type) -> None:
    data = integers((2, 37, 9, 8), dtype is np.int8)
    attrs = {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)}
    graph = Graph([make_node("pooling", "pool", [make_variable("data")], attrs)[0]])
    library = Library(next(i for i in ISAS if i.name == HOST_ISAS[-1]), CodeCache(default_folder()))
    program = lower(graph, {}, {"data": (TensorType.of(data), "plain")}, ["plain"], library.isa)
    assert all(isinstance(s, NativeStep) for s in program.steps)
    (result,) = Executor(program, library, pool)([data])
    np.testing.assert_array_equal(result, evaluate(graph, {"data": data})[0])


@pytest.mark.parametrize("window", [{"global_pool": True}, {"kernel": (7, 7)}])
def test_average_of_integers_is_one_step_with_its_dequantization(window: dict[str, object]) -> None:
    data = integers((2, 70, 7, 7), False)
    inner = [make_variable("in0"), make_variable("in1")]
    real = make_node("dequantize", "real", inner)[0]
    pooled = make_node("pooling", "pool", [real], {"pool_type": "avg", **window})[0]
    node = make_fused("average", [make_variable("data"), make_variable("scale")], Graph([pooled]))
    library = Library(next(i for i in ISAS if i.name == HOST_ISAS[-1]), CodeCache(default_folder()))
    inputs = {"data": (TensorType.of(data), "plain")}
    program = lower(Graph([node[0]]), {"scale": np.array([0.05], np.float32)}, inputs, ["plain"], library.isa)
    assert [s.name for s in program.steps if s.name != "reorder"] == ["average"]
    (result,) = Executor(program, library, pool)([data])
    wanted = (data.astype(np.float64) * np.float32(0.05)).mean((2, 3), keepdims=True)
    np.testing.assert_allclose(result, wanted, rtol=1e-5)


@pytest.mark.parametrize("layout", ["plain", "channels_last"])
@pytest.mark.parametrize("out", ["int8", "uint8"])
@pytest.mark.parametrize("window", [{"global_pool": True}, {"kernel": (7, 7)}, {"kernel": (3, 2), "pad": (1, 1)}])
def test_average_between_integers_is_one_pooling_step(window: dict[str, object], out: str, layout: str) -> None:
    data = integers((2, 70, 7, 7), out == "int8")
    real = make_node("dequantize", "real", [make_variable("in0"), make_variable("in1")])[0]
    pooled = make_node("pooling", "pool", [real], {"pool_type": "avg", **window})[0]
    # Most averages are within.
    attrs = {"out_type": out, "min_calib_range": -1.5, "max_calib_range": 1.5 if out == "int8" else 10.0}
    quantized = make_node("quantize", "quantized", [pooled], attrs)
    node = make_fused("average", [make_variable("data"), make_variable("scale")], Graph([quantized[0], quantized[1]]))
    library = Library(next(i for i in ISAS if i.name == HOST_ISAS[-1]), CodeCache(default_folder()))
    graph, scale = Graph([node[0], node[1]]), {"scale": np.array([0.05], np.float32)}
    inputs = {"data": (TensorType.of(data), layout)}
    program = lower(graph, scale, inputs, [layout, "plain"], library.isa)
    made = [(s.name, s.loop.name) for s in program.steps if isinstance(s, NativeStep)]
    assert sum(loop in ("pool_loop", "global_pool_loop") for _, loop in made) == 1
    if layout == "channels_last":
        assert not any(name == "reorder" for name, _ in made), made
        data = np.moveaxis(np.ascontiguousarray(np.moveaxis(data, 1, -1)), -1, 1)
    results = Executor(program, library, pool)([data])
    wanted = evaluate(graph, {**scale, "data": data})
    assert results[0].dtype == wanted[0].dtype
    # The average is exact before it is scaled, the reference's sum of rounded products is not.
    difference = np.abs(results[0].astype(int) - wanted[0].astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.01
    assert len(np.unique(wanted[0])) > 20
    np.testing.assert_array_equal(results[1], wanted[1])


@pytest.mark.parametrize("batch_axes", [0, 1, -1, -2])
@pytest.mark.parametrize("layout", ["plain", "channels_last"])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (3, 6, 50_001), (2, 7, 33, 19), (1, 3, 224, 224), (4, 3, 1, 1)])
@pytest.mark.parametrize("out", ["int8", "uint8"])
def test_quantization_without_calibration_finds_its_ranges(
    shape: tuple[int, ...], out: str, layout: str, batch_axes: int
) -> None:
    data = _RNG.standard_normal(shape).astype(np.float32)
    data[-1] *= 100
    node = make_node("quantize", "quantized", [make_variable("data")], {"out_type": out, "batch_axes": batch_axes})
    graph = Graph([node[0], node[1]])
    library = Library(next(i for i in ISAS if i.name == HOST_ISAS[-1]), CodeCache(default_folder()))
    layout = layout if len(shape) > 2 else "plain"
    program = lower(graph, {}, {"data": (TensorType.of(data), layout)}, ["plain", "plain"], library.isa)
    assert program.steps
    assert all(isinstance(step, NativeStep) for step in program.steps)
    given = data if layout == "plain" else np.moveaxis(np.ascontiguousarray(np.moveaxis(data, 1, -1)), -1, 1)
    results = Executor(program, library, pool)([given])
    for result, wanted in zip(results, evaluate(graph, {"data": data}), strict=True):
        np.testing.assert_array_equal(result, wanted)


def test_quantization_without_calibration_of_nothing_but_zeros_or_with_nan_has_scale_one() -> None:
    library = Library(next(i for i in ISAS if i.name == HOST_ISAS[-1]), CodeCache(default_folder()))
    node = make_node("quantize", "quantized", [make_variable("data")], {"out_type": "int8"})
    inputs = {"data": (TensorType((40,), np.dtype(np.float32)), "plain")}
    execute = Executor(lower(Graph([node[0], node[1]]), {}, inputs, ["plain"] * 2, library.isa), library, pool)
    spoiled = np.linspace(-3, 3, 40, dtype=np.float32)
    spoiled[17] = np.nan
    for data in (np.zeros(40, np.float32), spoiled):
        q, scale = execute([data])
        assert scale == 1
        np.testing.assert_array_equal(q, np.rint(np.nan_to_num(data)))


@pytest.mark.parametrize("batch_axes", [0, 1])
@pytest.mark.parametrize("out", ["int8", "uint8"])
def test_ranges_that_are_not_finite_or_have_no_extent_have_the_references_scales(out: str, batch_axes: int) -> None:
    ends = [np.nan, np.inf, -np.inf, 0.0, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 1e-36, 5.0, -5.0]
    rows = np.zeros((len(ends), 40), np.float32)
    rows[::2] = _RNG.standard_normal((len(ends) // 2, 40))
    rows[:, 17] = ends
    node = make_node("quantize", "q", [make_variable("data")], {"out_type": out, "batch_axes": batch_axes})
    graph = Graph([node[0], node[1]])
    for data in (rows, *rows[:, None]):
        _, results = run_on(HOST_ISAS[-1], graph, {}, {"data": data})
        for result, wanted in zip(results, evaluate(graph, {"data": data}), strict=True):
            np.testing.assert_array_equal(result, wanted)
