"""Arguments have one name, order and default wherever they are stated: in an operator's record, in functions, methods,
layers, symbols and the readers of MXNet's files; and they are MXNet's.

The exceptions are listed, most of them with their source in MXNet.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from mxnet_signatures import SIGNATURES

import minidnn as mx
from minidnn.errors import OpError
from minidnn.gluon import nn
from minidnn.interop.mxnet_operators import RULES
from minidnn.ops.registry import REQUIRED, Op, get_op, list_ops
from minidnn.symbol.symbol import apply_op

_GIVEN = "the function finds it from the shapes of its arguments; the record needs it (the parameter structs of MXNet)"
_NONE = "None stands for the record's default, as in python/mxnet/numpy_extension/_op.py"
_UNSET = "a value that no record would accept without the others, as in python/mxnet/numpy_extension/_op.py"
_NUMPY = "NumPy's default, as in python/mxnet/numpy/multiarray.py; the record's is that of the symbol file"
_COMPUTED = "the signature is NumPy's, which computes the function; the record stands for it while a network is traced"
_LEFT_OUT = "optional as in python/mxnet/numpy/multiarray.py, and an error of the record where it is left out"

_DEFAULT_DTYPE = "None stands for float32, as in python/mxnet/numpy/multiarray.py; a graph says it"
_WITHOUT_START = "arange(n) counts to n, as in NumPy; a graph has both ends"

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
    **{
        ("npx", op, name): _UNSET if name in ("kernel", "num_filter") else _NONE
        for op in ("deformable_convolution", "modulated_deformable_convolution")
        for name in ("kernel", "stride", "dilate", "pad", "num_filter")
    },
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
    ("npx", "rnn", "mode"): _UNSET,
    ("npx", "rnn", "state_size"): _UNSET,
    ("npx", "rnn", "num_layers"): _UNSET,
    ("npx", "slice_axis", "end"): "end has no default in src/operator/tensor/matrix_op-inl.h; None is a value of it",
    ("np", "pad", "pad_width"): _LEFT_OUT,
    ("np", "sum", "keepdims"): _NONE,
    ("np", "take", "axis"): _NUMPY,
    ("np", "take", "mode"): _NUMPY,
    ("np", "histogram", "density"): _COMPUTED,
    ("np", "arange", "stop"): _WITHOUT_START,
    ("np", "arange", "step"): "the record's is a float, the function's an int; both are 1",
    ("np", "arange", "dtype"): _DEFAULT_DTYPE,
    ("np", "eye", "dtype"): _DEFAULT_DTYPE,
    ("np", "full", "dtype"): _DEFAULT_DTYPE,
    ("np", "histogramdd", "bins"): _COMPUTED,
    ("np", "histogramdd", "density"): _COMPUTED,
    ("np", "nanmax", "keepdims"): _COMPUTED,
    ("np", "nanmean", "keepdims"): _COMPUTED,
    ("np", "nanmin", "keepdims"): _COMPUTED,
    ("np", "nansum", "keepdims"): _COMPUTED,
    ("np", "take_along_axis", "axis"): _COMPUTED,
    ("ndarray", "nansum", "keepdims"): _COMPUTED,
    ("ndarray", "pad", "pad_width"): _LEFT_OUT,
    ("ndarray", "take", "axis"): _NUMPY,
    ("ndarray", "take", "mode"): _NUMPY,
    ("ndarray", "transpose", "axes"): "it is ``*axes``, which may be none",
}
# Functions of the same name as an operator that mean something else.
ANOTHER = {
    ("npx", "requantize"): "MXNet's, of a range instead of a scale",
    ("npx", "roi_align"): "MXNet's, of regions that begin with their sample",
    **dict.fromkeys(
        (("npx", "foreach"), ("npx", "while_loop"), ("npx", "cond")),
        "of Python's functions; the record has the subgraphs that these were traced to, and where their inputs are",
    ),
}
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
    ("one_hot", "depth"): INTENDED["npx", "one_hot", "depth"],
    ("slice_axis", "end"): INTENDED["npx", "slice_axis", "end"],
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


# Attributes that a function finds from its other arguments.
FOUND = {"num_args", "has_weights", "size"}
_PARAMETER_STRUCT = "the record has the order of MXNet's parameter struct, the function that of numpy_extension/_op.py"
_NUMPYS_ORDER = "NumPy's order, as in numpy/multiarray.py; the record has that of MXNet's parameter struct"
# Functions that lack attributes of their record, or have them in another order.
OTHERWISE = {
    ("npx", "attention"): "what it is given says which inputs the record has",
    ("npx", "convolution"): _PARAMETER_STRUCT,
    ("npx", "deconvolution"): _PARAMETER_STRUCT,
    ("npx", "log_softmax"): _PARAMETER_STRUCT,
    ("npx", "pad"): "MXNet 1's, whose constant_value is a number (src/operator/pad-inl.h)",
    ("npx", "pooling"): _PARAMETER_STRUCT,
    ("npx", "softmax"): _PARAMETER_STRUCT,
    ("np", "full"): "it is fill_value, as in NumPy; value in src/operator/tensor/init_op.h",
    ("np", "pad"): "the others are ``**kwargs``, as in NumPy",
    ("np", "percentile"): _NUMPYS_ORDER,
    ("np", "quantile"): _NUMPYS_ORDER,
    ("np", "split"): "indices_or_sections is either; squeeze_axis is MXNet 1's",
    ("np", "swapaxes"): "axis1 and axis2, as in NumPy; the record has the names of src/operator/swapaxis-inl.h",
    ("ndarray", "clip"): "min and max, as in NumPy",
    ("ndarray", "pad"): "the others are ``**kwargs``, as in NumPy",
    ("ndarray", "reshape"): "it is ``*shape``",
    ("ndarray", "split"): "indices_or_sections is either; squeeze_axis is MXNet 1's",
    ("ndarray", "swapaxes"): "axis1 and axis2, as in NumPy; the record has the names of src/operator/swapaxis-inl.h",
    **dict.fromkeys(
        itertools.product(("np", "ndarray"), ("mean", "nansum", "prod", "std", "sum", "var")), _NUMPYS_ORDER
    ),
    ("np", "nanmean"): _NUMPYS_ORDER,
    ("np", "nanpercentile"): _NUMPYS_ORDER,
    ("np", "nanquantile"): _NUMPYS_ORDER,
    ("np", "polyfit"): "the weights and what `cov` asks for are inputs and outputs of the record",
    ("np", "polyint"): "the constants `k` are an input of the record",
}


def test_functions_have_the_names_and_the_order_of_the_records() -> None:
    differing = set()
    for op in map(get_op, list_ops()):
        wanted = [a.name for a in op.attrs if a.name not in FOUND]
        for place, namespace in PLACES.items():
            given = parameters(namespace, op.name)
            if given and (place, op.name) not in ANOTHER and [n for n in given if n in wanted] != wanted:
                differing.add((place, op.name))
    assert differing == set(OTHERWISE)


def test_methods_have_the_names_and_the_order_of_the_functions() -> None:
    differing = set()
    for name in dir(mx.np.ndarray):
        if name.startswith("_") or not callable(getattr(mx.np.ndarray, name)):
            continue
        method = [p for p in parameters(mx.np.ndarray, name) if p != "self"]
        function = list(parameters(mx.np, name) or parameters(mx.npx, name))
        if function and [p for p in function if p in method] != [p for p in method if p in function]:
            differing.add(name)
    # Their dtype and use_length are taken by keyword alone.
    assert differing == {"log_softmax", "softmax"}


# Where an argument of MXNet's is another one here, or has another place.
_WINDOW = "taken by keyword; NumPy computes the window"
_BY_KEYWORD = "NumPy's signature, which is shown; device is taken by keyword"
AGAINST_MXNET = {
    ("np", "blackman"): _WINDOW,
    ("np", "hamming"): _WINDOW,
    ("np", "hanning"): _WINDOW,
    ("np", "histogram"): "normed is gone from NumPy",
    ("np", "indices"): _BY_KEYWORD,
    ("np", "percentile"): "method is NumPy 2's word for interpolation, which is taken too",
    ("np", "quantile"): "method is NumPy 2's word for interpolation, which is taken too",
    ("np", "std"): "ddof, NumPy's name of correction, has its place; correction is taken too",
    ("np", "trace"): "NumPy's has dtype before out",
    ("np", "tri"): _BY_KEYWORD,
    ("np", "triu_indices"): _BY_KEYWORD,
    ("np", "var"): "ddof, NumPy's name of correction, has its place; correction is taken too",
    ("npx", "softmax"): "ndarray/numpy_extension/_op.py has axis before length",
    ("ndarray", "std"): "as in np.std",
    ("ndarray", "var"): "as in np.var",
}


def test_arguments_are_those_of_mxnet() -> None:
    differing = set()
    for place, signatures in SIGNATURES.items():
        namespace = functools.reduce(getattr, ("np.ndarray" if place == "ndarray" else place).split("."), mx)
        for arguments, names in signatures.items():
            wanted = [a.strip("*") for a in arguments.split()]
            for name in names.split():
                found = [p for p in parameters(namespace, name) if p != "self"]
                if found[: len(wanted)] != wanted:
                    differing.add((place, name))
    assert differing == set(AGAINST_MXNET)


def test_what_numpy_calls_otherwise_is_taken_by_mxnets_keyword() -> None:
    x = mx.np.array([[1.0, 5.0, 2.0], [4.0, 8.0, 3.0]])
    for function, q in ((mx.np.percentile, 30), (mx.np.quantile, 0.3)):
        assert function(x, q, interpolation="lower").item() == 2.0
    assert mx.np.hanning(4, dtype="float64", device=mx.cpu()).dtype == "float64"
    assert mx.np.tri(2, device=mx.cpu()).tolist() == [[1, 0], [1, 1]]
    assert mx.np.indices((1, 2), device=mx.cpu()).shape == (2, 1, 2)
    for function in (mx.np.std, mx.np.var):
        assert function(x, correction=1).item() == pytest.approx(function(x, ddof=1).item())
    out = mx.np.zeros(6)
    assert mx.np.cumsum(x, out=out) is out and out.tolist() == [1, 6, 8, 12, 20, 23]


@pytest.mark.parametrize("op", RULES)
def test_the_reader_of_mxnets_files_names_attributes_of_the_record(op: str) -> None:
    rule, known = RULES[op], {a.name for a in get_op(op).attrs}
    assert {*rule.renamed.values(), *rule.written, *(key for d in rule.defaults.values() for key in d)} <= known
    assert not {*rule.backend, *rule.absent} & known
    assert set(rule.defaults) <= set(get_op(op).mxnet)
    assert not set(rule.renamed) & known, "a name of MXNet's that is one of ours cannot mean another one"


def test_symbols_take_the_attributes_of_the_record_and_no_others() -> None:
    for op in (get_op(name) for name in list_ops()):
        if op.inputs == ("data",):
            with pytest.raises(OpError, match="no_attribute"):
                apply_op(op.name, [mx.sym.var("x")], no_attribute=1)


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
