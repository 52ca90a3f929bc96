"""What records say of operators beside types and numbers is true of their references, and known to the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ops_helpers import normal

from minidnn.errors import OpError
from minidnn.ops import Attrs, get_op, list_ops
from minidnn_kernels.epilogue import signature

# Attributes with which an operator is asked, where it has required ones or its traits depend on them.
_ATTRS: dict[str, list[dict[str, Any]]] = {
    "activation": [{"act_type": t} for t in ("relu", "sigmoid", "log_sigmoid", "mish", "tanh", "softrelu", "softsign")],
    "leaky_relu": [{"act_type": t} for t in ("leaky", "elu", "selu", "gelu", "gelu_erf", "gelu_tanh", "rrelu")],
    "gelu": [{"approximation": "erf"}, {"approximation": "tanh"}],
    "clip": [{"a_min": low, "a_max": high} for low in (-1.0, 0.0, None) for high in (-0.5, 2.0, None)],
    "cast": [{"dtype": "float16"}, {"dtype": "bool"}],
    "hard_sigmoid": [{}, {"alpha": 1.0, "beta": -2.0}],
    "reshape": [{"newshape": (-1, 4)}, {"newshape": (-1, 4), "order": "F"}],
    "npx_reshape": [{"newshape": (-1, 4)}, {"newshape": (-5, -4)}],
    "transpose": [{}, {"axes": (0, 2, 1)}, {"axes": (1, 0, 2)}],
    "moveaxis": [{"source": (0,), "destination": (1,)}],
    "expand_dims": [{"axis": axis} for axis in (0, 1, 3, -1, -4)],
    "broadcast_to": [{"shape": (3, 2, 4, 6)}],
    "slice": [{"begin": (0, 1), "end": (2, 3), "step": (1, 2)}],
    "slice_axis": [{"axis": axis, "begin": 1} for axis in (0, 1, -3)],
    "split": [{"sections": 2, "axis": axis} for axis in (0, 1, -3)],
    "repeat": [{"repeats": 2}],
    "tile": [{"reps": (2, 1)}],
    "roll": [{"shift": (1,)}],
    "pad": [
        {"pad_width": width, "mode": mode, "constant_values": value, "reflect_type": kind}
        for width in (1, ((0, 0), (1, 0), (2, 1)))
        for mode in ("constant", "edge", "reflect", "symmetric")
        for value in (0.0, -1.0, 1.0)
        for kind in ("even", "odd")
    ],
    "pooling": [{"global_pool": True, "pool_type": t} for t in ("max", "avg", "sum")],
    "one_hot": [{"depth": 3}, {"depth": 3, "off_value": -1.0}],
    "concatenate": [{"num_args": 2}],
    "stack": [{"num_args": 2}],
}
_SCALARS = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)
_SHAPE = (2, 4, 6)


def attrs_of(name: str) -> list[Attrs]:
    op = get_op(name)
    if name.endswith("_scalar"):
        return [op.make_attrs({"scalar": s, "is_int": False}) for s in _SCALARS]
    try:
        return [op.make_attrs(values) for values in _ATTRS.get(name, [{}])]
    except OpError:
        return []


def cases(chosen: Any) -> list[Any]:
    return [
        pytest.param(name, a, id=f"{name}-{i}")
        for name in list_ops()
        for i, a in enumerate(attrs_of(name))
        if chosen(get_op(name), a)
    ]


def data_names(name: str, attrs: Attrs) -> list[str]:
    op = get_op(name)
    return [n for n in op.input_names(attrs) if n not in op.parameters]


@pytest.mark.parametrize(
    ("name", "attrs"), cases(lambda op, attrs: op.kind == "elementwise" and op.epilogue is not None)
)
def test_an_epilogue_step_is_an_instruction_of_the_kernels(name: str, attrs: Attrs) -> None:
    op = get_op(name)
    step = op.epilogue_step(attrs)
    if step is not None:
        assert signature(step.name) == (len(op.input_names(attrs)), len(step.numbers))


@pytest.mark.parametrize("signs", ["both", "first", "second", "none"])
@pytest.mark.parametrize(("name", "attrs"), cases(lambda op, attrs: op.nonnegative is not None))
def test_what_is_said_to_be_nowhere_negative_is_not(name: str, attrs: Attrs, signs: str) -> None:
    op = get_op(name)
    inputs = data_names(name, attrs)
    positive = [
        signs == "both" or (signs == "first" and i == 0) or (signs == "second" and i == 1) for i in range(len(inputs))
    ]
    if op.parameters or not op.nonnegative(attrs, positive):  # type: ignore[misc]
        return
    arrays = [normal(*_SHAPE, seed=i) * 3 for i in range(len(inputs))]
    arrays = [np.abs(a) if sure else a for a, sure in zip(arrays, positive, strict=True)]
    try:
        results = op.compute(attrs, *arrays)
    except OpError:
        pytest.skip("does not take such inputs")
    for result in results:
        assert not (np.asarray(result) < 0).any()


@pytest.mark.parametrize(("name", "attrs"), cases(lambda op, attrs: op.holds(op.keeps_order, attrs)))
def test_what_keeps_the_order_of_elements_does(name: str, attrs: Attrs) -> None:
    x = np.arange(48, dtype=np.float32).reshape(_SHAPE)
    arrays = [x, np.zeros((12, 4), np.float32)][: len(data_names(name, attrs))]
    (result,) = get_op(name).compute(attrs, *arrays)
    np.testing.assert_array_equal(result.reshape(-1), x.reshape(-1))


@pytest.mark.parametrize(
    ("name", "attrs"), cases(lambda op, attrs: op.shares_scale or op.holds(op.scale_transparent, attrs))
)
def test_what_carries_a_scale_does_the_same_with_integers(name: str, attrs: Attrs) -> None:
    op, rng = get_op(name), np.random.default_rng(0)
    arrays = [rng.integers(-127, 128, _SHAPE).astype(np.int8) for _ in data_names(name, attrs)]
    scale = np.float32(0.25)
    integers = op.compute(attrs, *arrays)
    floats = op.compute(attrs, *(a * scale for a in arrays))
    for q, real in zip(integers, floats, strict=True):
        assert q.dtype == np.int8
        np.testing.assert_array_equal(q * scale, real)


@pytest.mark.parametrize(
    ("name", "attrs"),
    cases(lambda op, attrs: op.holds(op.scale_transparent, attrs) and op.holds(op.keeps_samples, attrs)),
)
def test_what_keeps_samples_carries_a_scale_for_each(name: str, attrs: Attrs) -> None:
    op = get_op(name)
    data = np.random.default_rng(0).integers(-127, 128, _SHAPE).astype(np.int8)
    scale = np.float32([0.25, 8.0]).reshape(2, 1, 1)
    carried = op.compute(attrs, scale)[0] if op.moves_axes else scale
    for q, real in zip(op.compute(attrs, data), op.compute(attrs, data * scale), strict=True):
        assert q.ndim == carried.ndim and len(q) == len(carried) == 2
        np.testing.assert_array_equal(q * carried, real)


@pytest.mark.parametrize(("name", "attrs"), cases(lambda op, attrs: op.decomposition is not None))
def test_a_decomposition_computes_the_same(name: str, attrs: Attrs) -> None:
    op, x = get_op(name), normal(*_SHAPE)
    values = [x]
    parts = op.decomposition(attrs)  # type: ignore[misc]
    for part in parts:
        inner = get_op(part.op)
        assert inner.mxnet
        values.append(inner.compute(inner.make_attrs(part.attrs), *(values[i] for i in part.inputs))[0])
    np.testing.assert_allclose(values[-1], op.compute(attrs, x)[0], rtol=1e-6, atol=1e-6)
    assert not parts[-1].suffix and len({part.suffix for part in parts}) == len(parts)


def test_hard_sigmoid_is_never_negative() -> None:
    op = get_op("hard_sigmoid")
    assert op.nonnegative is not None
    assert op.nonnegative(op.make_attrs({}), [False])


def test_an_anchor_and_its_integer_form_agree() -> None:
    anchors = {name: get_op(name).anchor for name in list_ops() if get_op(name).anchor is not None}
    assert {"convolution", "deconvolution", "fully_connected", "batch_dot", "matmul", "dot"} <= anchors.keys()
    for name, traits in anchors.items():
        assert traits is not None
        assert (get_op(name).kind == "anchor") is True
        if traits.integer:
            integer = get_op(traits.integer).anchor
            assert integer is not None and integer.is_integer and integer.channel_axis == traits.channel_axis
