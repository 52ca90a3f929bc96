"""A default is the same wherever it is stated: in an operator's record, in functions, methods and layers.

The exceptions are MXNet's own, and are listed with their source there.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import minidnn as mx
from minidnn.gluon import nn
from minidnn.ops.registry import REQUIRED, Op, get_op, list_ops

_GIVEN = "the function finds it from the shapes of its arguments; the record needs it (the parameter structs of MXNet)"
_NONE = "None stands for the record's default, as in python/mxnet/numpy_extension/_op.py"
_UNSET = "a value that no record would accept without the others, as in python/mxnet/numpy_extension/_op.py"
_NUMPY = "NumPy's default, as in python/mxnet/numpy/multiarray.py; the record's is that of the symbol file"
_LEFT_OUT = "optional as in python/mxnet/numpy/multiarray.py, and an error of the record where it is left out"

INTENDED = {
    (
        "npx",
        "activation",
        "act_type",
    ): "numpy_extension/_op.py: 'relu'; src/operator/nn/activation-inl.h: none",
    ("npx", "convolution", "kernel"): _UNSET,
    ("npx", "convolution", "num_filter"): _UNSET,
    ("npx", "deconvolution", "kernel"): _UNSET,
    ("npx", "deconvolution", "num_filter"): _UNSET,
    ("npx", "deconvolution", "no_bias"): "numpy_extension/_op.py: False; src/operator/nn/deconvolution-inl.h: True",
    ("npx", "dropout", "axes"): _NONE,
    ("npx", "embedding", "input_dim"): _GIVEN,
    ("npx", "embedding", "output_dim"): _GIVEN,
    ("npx", "fully_connected", "num_hidden"): _GIVEN,
    ("npx", "fully_connected", "no_bias"): "numpy_extension/_op.py: True; src/operator/nn/fully_connected-inl.h: False",
    ("npx", "group_norm", "eps"): "numpy_extension/_op.py: 1e-3; src/operator/nn/group_norm-inl.h: 1e-5",
    ("npx", "layer_norm", "axis"): _NONE,
    ("npx", "layer_norm", "eps"): _NONE,
    ("npx", "layer_norm", "output_mean_var"): _NONE,
    ("npx", "one_hot", "depth"): _UNSET,
    (
        "npx",
        "pad",
        "mode",
    ): "npx.pad is MXNet 1's, where it has no default (src/operator/pad-inl.h)",
    ("npx", "pooling", "kernel"): _NONE,
    ("npx", "pooling", "stride"): _NONE,
    ("npx", "pooling", "pad"): _NONE,
    ("npx", "pooling", "count_include_pad"): _NONE,
    ("npx", "quantized_fully_connected", "num_hidden"): _UNSET,
    ("npx", "slice_axis", "end"): "end has no default in src/operator/tensor/matrix_op-inl.h; None is a value of it",
    ("np", "pad", "pad_width"): _LEFT_OUT,
    ("np", "sum", "keepdims"): _NONE,
    ("np", "take", "axis"): _NUMPY,
    ("np", "take", "mode"): _NUMPY,
    ("ndarray", "take", "axis"): _NUMPY,
    ("ndarray", "take", "mode"): _NUMPY,
    ("ndarray", "transpose", "axes"): "it is ``*axes``, which may be none",
}
# Functions of the same name as an operator that mean something else.
ANOTHER = {("npx", "requantize"): "MXNet's, of a range instead of a scale"}
PLACES = {"npx": mx.npx, "np": mx.np, "ndarray": mx.np.ndarray}


def parameters(place: Any, name: str) -> dict[str, Any]:
    """The defaults of a function by parameter; REQUIRED where there is none."""
    function = getattr(place, name, None)
    if not callable(function):
        return {}
    found = inspect.signature(function).parameters
    return {n: REQUIRED if p.default is p.empty else p.default for n, p in found.items()}


def alike(a: Any, b: Any) -> bool:
    """Whether two defaults are one; dtypes have several forms."""
    return a is b or ((type(a) in (bool, type(None)) or type(b) in (bool, type(None))) and a is b) or str(a) == str(b)


def stated_twice() -> Iterator[tuple[str, Op, str, Any, Any]]:
    for op in map(get_op, list_ops()):
        for place, namespace in PLACES.items():
            if (place, op.name) in ANOTHER:
                continue
            given = parameters(namespace, op.name)
            yield from ((place, op, a.name, given[a.name], a.default) for a in op.attrs if a.name in given)


def test_functions_have_the_defaults_of_the_records() -> None:
    differing = {(place, op.name, name) for place, op, name, ours, record in stated_twice() if not alike(ours, record)}
    assert differing == set(INTENDED)


def test_there_is_something_to_compare() -> None:
    assert sum(1 for _ in stated_twice()) > 120


METHODS = {
    ("sum", "keepdims"): "python/mxnet/numpy/multiarray.py: None in np.sum, False in ndarray.sum",
    ("transpose", "axes"): INTENDED["ndarray", "transpose", "axes"],
}


def test_methods_have_the_defaults_of_the_functions() -> None:
    differing = set()
    for name in dir(mx.np.ndarray):
        if name.startswith("_") or not callable(getattr(mx.np.ndarray, name)):
            continue
        method = parameters(mx.np.ndarray, name)
        function = parameters(mx.np, name) or parameters(mx.npx, name)
        differing |= {(name, p) for p in method.keys() & function.keys() if not alike(method[p], function[p])}
    assert differing == set(METHODS)


# Layers with the arguments that have no default, and what they set besides: the layers' own defaults.
LAYERS: dict[str, tuple[Any, str, dict[str, Any], dict[str, Any]]] = {
    "Dense": (lambda: nn.Dense(3), "fully_connected", {"num_hidden": 3}, {}),
    "Conv2D": (lambda: nn.Conv2D(3, 2), "convolution", {"num_filter": 3, "kernel": (2, 2)}, {}),
    "Conv2DTranspose": (
        lambda: nn.Conv2DTranspose(3, 2),
        "deconvolution",
        {"num_filter": 3, "kernel": (2, 2), "no_bias": False},
        {},
    ),
    # gluon/nn/conv_layers.py: windows of 2 that do not overlap.
    "MaxPool2D": (lambda: nn.MaxPool2D(), "pooling", {"kernel": (2, 2), "stride": (2, 2)}, {"layout"}),
    "AvgPool1D": (
        lambda: nn.AvgPool1D(),
        "pooling",
        {"kernel": (2,), "stride": (2,), "pool_type": "avg"},
        {"layout"},
    ),
    # gluon/nn/basic_layers.py: epsilon 1e-5 and a trained gamma; the record's are those of batch_norm-inl.h.
    "BatchNorm": (lambda: nn.BatchNorm(), "batch_norm", {"eps": 1e-5, "fix_gamma": False}, {}),
    "LayerNorm": (lambda: nn.LayerNorm(), "layer_norm", {}, {}),
    "GroupNorm": (lambda: nn.GroupNorm(), "group_norm", {}, {}),
    # gluon/nn/basic_layers.py: epsilon 1e-5.
    "InstanceNorm": (lambda: nn.InstanceNorm(), "instance_norm", {"eps": 1e-5}, {}),
    "Dropout": (lambda: nn.Dropout(0.5), "dropout", {}, {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_the_defaults_of_the_records(name: str) -> None:
    make, op, differing, left_out = LAYERS[name]
    record = dict(get_op(op).make_attrs(differing))
    layer = dict(make()._attrs)
    assert layer == {key: value for key, value in record.items() if key not in left_out}
