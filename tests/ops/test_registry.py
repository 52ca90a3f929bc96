"""The registry: attributes are typed and checked, whoever passes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ops_helpers import infer, tensor

from minidnn.errors import GraphError, OpError, ShapeError
from minidnn.ops import Attr, Attrs, Op, get_op, list_ops, register

KINDS = {"elementwise", "anchor", "normalization", "pooling", "reduction", "shape", "other", "fused"}


def test_every_operator_has_a_known_kind_and_finds_itself_by_its_mxnet_names() -> None:
    for name in list_ops():
        op = get_op(name)
        assert op.kind in KINDS, name
        assert all(get_op(alias) is op for alias in op.mxnet)


def test_parameters_are_inputs() -> None:
    attrs: dict[str, Any] = {"no_bias": False, "act_type": "prelu", "per_channel": True, "mode": "lstm"}
    attrs |= {"has_bias": True, "has_projection": True, "has_peephole": True, "has_length": True}
    attrs |= {"use_sequence_length": True, "int8_weight": True, "has_data_scale": True, "has_mask": True}
    for name in list_ops():
        op = get_op(name)
        if op.parameters:
            inputs = op.inputs(Attrs(attrs)) if callable(op.inputs) else op.inputs
            assert op.parameters <= set(inputs), name


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("bool", "True", True),
        ("bool", "0", False),
        ("bool", np.bool_(True), True),
        ("int", "7", 7),
        ("int", 7.0, 7),
        ("float", "0.5", 0.5),
        ("float", np.float32(0.5), 0.5),
        ("ints", "(2, 3)", (2, 3)),
        ("ints", "[None, 1]", (None, 1)),
        ("ints", 3, (3,)),
        ("ints", np.array([1, 2]), (1, 2)),
        ("dtype", "float16", np.dtype(np.float16)),
        ("tree", "[[0,0],[1,2]]", ((0, 0), (1, 2))),
        ("str", "relu", "relu"),
    ],
)
def test_attributes_read_python_values_and_mxnets_strings(kind: str, value: object, wanted: object) -> None:
    assert Attr("a", kind).convert("op", value) == wanted


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bool", "maybe"),
        ("int", "2.5"),
        ("int", 2.5),
        ("int", None),
        ("float", "much"),
        ("ints", "x"),
        ("ints", [1.5]),
        ("dtype", "float13"),
        ("tree", object()),
        ("str", 3),
    ],
)
def test_an_attribute_of_the_wrong_type_is_refused_by_name(kind: str, value: object) -> None:
    with pytest.raises(OpError, match=r"op: attribute 'a' must be"):
        Attr("a", kind).convert("op", value)


def test_attributes_have_choices_and_bounds() -> None:
    with pytest.raises(OpError, match=r"'pool_type' must be one of .*'max'.*got 'median'"):
        get_op("pooling").make_attrs({"pool_type": "median", "global_pool": True})
    with pytest.raises(OpError, match=r"'stride' must be at least 1, got \(0, 1\)"):
        get_op("convolution").make_attrs({"kernel": (1, 1), "num_filter": 1, "stride": (0, 1)})


def test_unknown_and_missing_attributes_are_refused() -> None:
    with pytest.raises(OpError, match=r"convolution: unknown attribute 'strides'"):
        get_op("convolution").make_attrs({"kernel": 3, "num_filter": 4, "strides": 2})
    with pytest.raises(OpError, match=r"convolution: attribute 'kernel' is required"):
        get_op("convolution").make_attrs({"num_filter": 4})
    with pytest.raises(GraphError, match=r"unknown operator 'convolutoin'"):
        get_op("convolutoin")


def test_attributes_are_immutable_values() -> None:
    attrs = get_op("clip").make_attrs({"a_min": 0, "a_max": "6"})
    assert attrs == get_op("clip").make_attrs({"a_min": "0.0", "a_max": 6})
    assert hash(attrs) == hash(attrs.replace())
    assert attrs.a_max == attrs["a_max"] == 6.0
    with pytest.raises(AttributeError):
        attrs.a_max = 3
    with pytest.raises(AttributeError):
        _ = attrs.b_max


def test_a_name_is_registered_once_and_a_refused_operator_leaves_nothing() -> None:
    before = list_ops()
    with pytest.raises(ValueError, match="registered twice"):
        register(get_op("add"))
    with pytest.raises(ValueError, match="taken by 'add'"):
        register(Op("test_add_again", lambda a, t: t, lambda a, x: x, ("data",), mxnet=("test_new", "_npi_add")))
    assert list_ops() == before
    for name in ("test_add_again", "test_new"):
        with pytest.raises(GraphError, match="unknown operator"):
            get_op(name)


def test_the_number_of_inputs_is_checked() -> None:
    with pytest.raises(OpError, match=r"add: expected 2 inputs \['lhs', 'rhs'\], got 1"):
        infer("add", tensor(3))


def test_an_output_beyond_any_memory_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"would take .* bytes"):
        infer("broadcast_to", tensor(1), shape=(2**40, 2**40))
    with pytest.raises(ShapeError, match=r"would take .* bytes"):
        infer("pad", tensor(1), pad_width=2**60)
    with pytest.raises(ShapeError, match="at most 32 dimensions"):
        infer("expand_dims", tensor(*(1,) * 32), axis=0)
