"""A batch of nothing gives nothing, of the shape and dtype that any other batch gives: every operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from op_samples import LEFT_OUT, SAMPLES, Sample

import minidnn as mx
from minidnn.contrib.quantization import quantize_net
from minidnn.engine import CompiledGraph, compile_graph
from minidnn.errors import ShapeError
from minidnn.gluon import SymbolBlock, nn
from minidnn.ir.graph import Entry, Graph, make_node, make_variable
from minidnn.ops import TensorType, get_op, list_ops
from minidnn.passes import run_passes
from minidnn.plan.program import NativeStep

Array = np.ndarray[Any, Any]


def test_every_operator_is_sampled() -> None:
    assert {sample.op for sample in SAMPLES} == set(list_ops()) - LEFT_OUT


def computed(sample: Sample, batch: int) -> list[Array]:
    op = get_op(sample.op)
    with np.errstate(all="ignore"):
        return list(op.compute(op.make_attrs(sample.attributes(batch)), *sample.arrays(batch)))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.op)
def test_a_batch_of_nothing_has_the_type_of_the_others_but_for_its_size(sample: Sample) -> None:
    nothing, some, more = (computed(sample, batch) for batch in (0, 2, 5))
    for a, b, c in zip(nothing, some, more, strict=True):
        assert a.dtype == b.dtype
        # Along each axis sizes are linear in the batch's.
        wanted = tuple(n - 2 * (m - n) // 3 for n, m in zip(b.shape, c.shape, strict=True))
        assert a.shape == wanted


def graph_of(sample: Sample, arrays: list[Array], batch: int) -> Graph:
    """The operator, and behind a float32 result an elementwise operation to fuse."""
    variables = [make_variable(f"x{i}", shape=a.shape, dtype=a.dtype) for i, a in enumerate(arrays)]
    node = make_node(sample.op, "node", variables, sample.attributes(batch))
    types = node.infer_types([TensorType.of(a) for a in arrays])
    return Graph(_with_tail(node[i], t) for i, t in enumerate(types))


def _with_tail(entry: Entry, type_: TensorType) -> Entry:
    if type_.dtype != np.float32:
        return entry
    return make_node("relu", f"tail{entry.index}", [make_node("negative", f"minus{entry.index}", [entry])[0]])[0]


def compiled(sample: Sample, arrays: list[Array], batch: int) -> CompiledGraph:
    graph = run_passes(graph_of(sample, arrays, batch))
    op = get_op(sample.op)
    roles = op.input_names(op.make_attrs(sample.attributes(batch)))
    weights = {f"x{i}": a for i, a in enumerate(arrays) if roles[i] in op.parameters}
    inputs = {f"x{i}": TensorType.of(a) for i, a in enumerate(arrays) if f"x{i}" not in weights}
    return compile_graph(graph, weights, inputs)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.op)
def test_a_program_for_a_batch_of_nothing(sample: Sample) -> None:
    arrays = sample.arrays(0)
    program = compiled(sample, arrays, 0)
    op = get_op(sample.op)
    data = [
        a
        for a, name in zip(arrays, op.input_names(op.make_attrs(sample.attributes(0))), strict=True)
        if name not in op.parameters
    ]
    outputs = program(data)
    wanted = op.infer_types(op.make_attrs(sample.attributes(0)), [TensorType.of(a) for a in arrays])
    assert [TensorType.of(a) for a in outputs] == list(wanted)
    assert all(step.parts > 0 for step in program.program.steps if isinstance(step, NativeStep))


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "wanted"),
    [
        ("softmax", [(3, 0)], {}, (3, 0)),
        ("log_softmax", [(3, 0, 2)], {"axis": 1}, (3, 0, 2)),
        ("layer_norm", [(3, 0), (0,), (0,)], {}, (3, 0)),
        ("layer_norm", [(3, 0, 4), (4,), (4,)], {}, (3, 0, 4)),
        ("group_norm", [(2, 4, 0), (4,), (4,)], {"num_groups": 2}, (2, 4, 0)),
        ("instance_norm", [(2, 4, 0), (4,), (4,)], {}, (2, 4, 0)),
        ("batch_norm", [(2, 3, 0), (3,), (3,), (3,), (3,)], {}, (2, 3, 0)),
        ("l2_normalization", [(2, 0)], {}, (2, 0)),
        ("fully_connected", [(2, 0, 4), (3, 4)], {"num_hidden": 3, "no_bias": True, "flatten": False}, (2, 0, 3)),
        ("pooling", [(2, 0, 4, 4)], {"kernel": (2, 2)}, (2, 0, 3, 3)),
        ("batch_dot", [(2, 0, 4), (2, 4, 3)], {}, (2, 0, 3)),
        ("matmul", [(3, 4), (4, 0)], {}, (3, 0)),
        ("pick", [(0, 0), (0,)], {}, (0,)),
        ("topk", [(3, 0)], {"k": 0}, (3, 0)),
        ("quantize", [(2, 0)], {}, (2, 0)),
    ],
)
def test_other_dimensions_may_be_of_size_zero_too(
    op: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], wanted: tuple[int, ...]
) -> None:
    sample = Sample(op, (), tuple(shapes), attrs, dtypes=("float32", "int32") if op == "pick" else ())
    assert computed(sample, 0)[0].shape == wanted
    assert compiled(sample, sample.arrays(0), 0).program.outputs[0].type.shape == wanted


@pytest.mark.parametrize("op", ["matmul", "dot", "batch_dot"])
def test_a_product_summed_over_nothing_is_zero(op: str) -> None:
    a, b = np.ones((2, 3, 0), np.float32), np.ones((2, 0, 4), np.float32)
    if op == "dot":
        a, b = a[0], b[0]
    made = get_op(op)
    (got,) = made.compute(made.make_attrs({}), a, b)
    np.testing.assert_array_equal(got, np.zeros((*a.shape[:-1], 4)))
    graph = Graph([make_node(op, "node", [make_variable("a"), make_variable("b")])[0]])
    (got,) = compile_graph(graph, {}, {"a": TensorType.of(a), "b": TensorType.of(b)})([a, b])
    np.testing.assert_array_equal(got, np.zeros((*a.shape[:-1], 4)))


@pytest.mark.parametrize(
    ("op", "shapes", "attrs", "message"),
    [
        ("convolution", [(1, 0, 5, 5), (4, 0, 3, 3)], {"kernel": (3, 3), "num_filter": 4}, "dimension 1 of size zero"),
        (
            "convolution",
            [(1, 3, 0, 5), (4, 3, 1, 1)],
            {"kernel": (1, 1), "num_filter": 4, "pad": (1, 1)},
            "dimension 2",
        ),
        ("convolution", [(0, 3, 2, 2), (4, 3, 3, 3)], {"kernel": (3, 3), "num_filter": 4}, "does not fit"),
        ("convolution", [(0, 3, 5, 5), (4, 2, 3, 3)], {"kernel": (3, 3), "num_filter": 4}, "is made for 2"),
        ("deconvolution", [(1, 0, 5), (0, 4, 3)], {"kernel": (3,), "num_filter": 4}, "dimension 1 of size zero"),
        ("fully_connected", [(3, 0), (4, 0)], {"num_hidden": 4}, "dimension 1 of size zero"),
        ("fully_connected", [(0, 3), (4, 2)], {"num_hidden": 4}, "weight must have shape"),
        ("pooling", [(1, 3, 0, 5)], {"global_pool": True}, "dimension 2 of size zero"),
        ("pooling", [(0, 3, 2, 2)], {"kernel": (3, 3)}, "does not fit"),
        ("pick", [(3, 0), (3,)], {}, "dimension 1 of size zero"),
        ("topk", [(3, 0)], {"k": 1}, "at most the 0 elements"),
        ("max", [(0, 3)], {"axis": 0}, "zero-size reduction: max has no identity"),
        ("reshape", [(0, 3)], {"newshape": (0, -1, 0)}, "does not fit"),
        ("reshape", [(0, 3)], {"newshape": (4, 3)}, "does not fit"),
        ("npx_reshape", [(0, 3)], {"newshape": (-2, 2, -1)}, "does not fit"),
    ],
)
def test_what_is_computed_from_no_elements_is_refused(
    op: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], message: str
) -> None:
    made = get_op(op)
    types = [
        TensorType(shape, np.dtype("int32" if op == "pick" and i else "float32")) for i, shape in enumerate(shapes)
    ]
    known = {"no_bias": True} if any(a.name == "no_bias" for a in made.attrs) else {}
    with pytest.raises(ShapeError, match=message):
        made.infer_types(made.make_attrs({**attrs, **known}), types)


def test_what_a_minus_one_stands_for_does_not_depend_on_the_batch() -> None:
    x = mx.np.ones((0, 3, 4))
    assert x.reshape(x.shape[0], -1).shape == (0, 12)
    assert x.reshape((-1, 12)).shape == (0, 12)
    assert x.reshape((5, -1)).shape == (5, 0)
    assert mx.npx.reshape(x, (-2, -1)).shape == (0, 12)
    assert mx.npx.reshape(x, (-5, -1)).shape == (0, 4)


# ---- networks ----------------------------------------------------------------------------------------


def network(flatten: nn.HybridBlock | None = None) -> nn.HybridSequential:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D(2))
    net.add(nn.Conv2D(8, 3, padding=1), nn.GELU(), nn.Conv2D(8, 3, groups=8, padding=1), nn.InstanceNorm())
    net.add(nn.Conv2DTranspose(8, 2, strides=2), nn.GroupNorm(2), nn.AvgPool2D(2), flatten or nn.Flatten())
    net.add(nn.Dense(6, activation="sigmoid"), nn.LayerNorm(), nn.Dropout(0.5), nn.Dense(4))
    net.initialize(mx.init.Xavier())
    return net


def flattened(x: Any) -> Any:
    return x.reshape(x.shape[0], -1)


NOTHING, SOME = mx.np.zeros((0, 3, 16, 16)), mx.np.array(np.random.default_rng(0).random((2, 3, 16, 16), np.float32))


@pytest.mark.parametrize("how", ["eager", "hybridize", "optimize_for", "first"])
def test_a_network_on_a_batch_of_nothing(how: str, tmp_path: Path) -> None:
    net = network(nn.HybridLambda(flattened))
    if how != "first":
        net(SOME)
    if how == "hybridize":
        net.hybridize()
    elif how in ("optimize_for", "first"):
        net.optimize_for(NOTHING)
    nothing = net(NOTHING)
    assert (nothing.shape, nothing.dtype) == ((0, 4), np.float32)
    assert net(SOME).shape == (2, 4)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("file_format", ["minidnn", "mxnet"])
def test_an_exported_network_on_a_batch_of_nothing(fused: bool, file_format: Any, tmp_path: Path) -> None:
    net = network()
    net.hybridize(backend="MINIDNN" if fused else None)
    wanted = net(SOME).asnumpy()
    files = net.export(tmp_path / "net", format=file_format)
    again = SymbolBlock.imports(files[0], ["data"], files[1])
    assert again(NOTHING).shape == (0, 4)
    np.testing.assert_allclose(again(SOME).asnumpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["none", "naive", "entropy"])
@pytest.mark.parametrize("quantize_mode", ["full", "smart"])
def test_a_quantized_network_on_a_batch_of_nothing(mode: str, quantize_mode: str, tmp_path: Path) -> None:
    net = network()
    net(SOME)
    options = {"calib_mode": mode, "quantize_mode": quantize_mode, "data_shapes": [SOME.shape]}
    quantized = quantize_net(net, calib_data=[SOME], **options)
    nothing = quantized(NOTHING)
    assert (nothing.shape, nothing.dtype) == ((0, 4), np.float32)
    assert quantized(SOME).shape == (2, 4)
    files = quantized.export(tmp_path / "net")
    assert SymbolBlock.imports(files[0], ["data"], files[1])(NOTHING).shape == (0, 4)
