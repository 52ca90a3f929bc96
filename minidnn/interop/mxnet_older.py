"""More operators of MXNet 1, read as `minidnn.interop.mxnet_upgrade` reads them: losses, comparisons, products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from minidnn.errors import GraphError
from minidnn.interop.mxnet_node import MxnetNode, Upgrade
from minidnn.ir.graph import Entry
from minidnn.ir.json_format import Call

__all__ = ["OLDER"]

Read = Callable[[MxnetNode], Call]


def _loss(op: str) -> Read:
    """The loss layers of MXNet 1: at inference what is in front of the loss; the label is not read."""

    def read(node: MxnetNode) -> Call:
        node.drop(*node.attrs)
        return node.finish(op, {}, node.input())

    return read


def _comparison(op: str) -> Read:
    """1 and 0 in the dtype of the first input, where MXNet 2 gives bools."""

    def read(node: MxnetNode) -> Call:
        attrs: dict[str, Any] = {key: node.attrs.pop(key) for key in ("scalar", "is_int") if key in node.attrs}
        made = node.before("bool", op, attrs, *node.inputs)
        return node.finish("cast_like", {}, made, node.input())

    return read


def _filled_like(value: float) -> Read:
    def read(node: MxnetNode) -> Call:
        return node.finish("full_like", {"fill_value": value}, node.input())

    return read


def _norm(node: MxnetNode) -> Call:
    order, axis, keepdims = node.text("ord", "2"), node.axes("axis"), node.flag("keepdims")
    if order not in ("1", "2"):
        raise GraphError(f"{node.op}: ord must be 1 or 2, got {order[:80]!a}")
    if node.text("out_dtype", "None") != "None":
        raise GraphError(f"{node.op}: attribute 'out_dtype' is not supported")
    parts = node.before("parts", "abs" if order == "1" else "square", {}, node.input())
    attrs = {"axis": axis, "keepdims": keepdims}
    if axis is None and not keepdims:
        total = node.before("total", "reshape", {"newshape": (1,)}, node.before("all", "sum", {}, parts))
    else:
        total = node.before("total", "sum", attrs, parts)
    return node.finish("identity" if order == "1" else "sqrt", {}, total)


def _sorted(op: str) -> Read:
    def read(node: MxnetNode) -> Call:
        axis, ascending = node.axes("axis", "-1"), node.flag("is_ascend", True)
        if axis is not None and len(axis) != 1:
            raise GraphError(f"{node.op}: 'axis' must be one number, got {axis}")
        attrs = {"axis": axis and axis[0], "descending": not ascending}
        if op == "sort":
            return node.finish(op, attrs, node.input())
        dtype = node.text("dtype", "float32")
        return node.finish("cast", {"dtype": dtype}, node.before("order", op, attrs, node.input()))

    return read


def _dot(node: MxnetNode) -> Call:
    node.drop("forward_stype")
    attrs = {key: node.flag(key) for key in ("transpose_a", "transpose_b")}
    return node.finish("dot_transposed", attrs, node.input(), node.input(1))


def _flipped(node: MxnetNode, name: str, entry: Entry) -> Entry:
    if not node.flag(f"transpose_{name}"):
        return entry
    return node.before(f"{name}_transposed", "swapaxes", {"dim1": -1, "dim2": -2}, entry)


def _gemm(node: MxnetNode) -> Call:
    """alpha · A B, and in ``linalg_gemm`` + beta · C, of the last two axes."""
    if node.ints("axis", "-2") != (-2,):
        raise GraphError(f"{node.op}: attribute 'axis' must be -2")
    alpha, beta = node.text("alpha", "1"), node.text("beta", "1")
    a, b = _flipped(node, "a", node.input()), _flipped(node, "b", node.input(1))
    product = node.before("product", "matmul", {}, a, b)
    if len(node.inputs) < 3:
        return node.finish("multiply_scalar", {"scalar": alpha}, product)
    scaled = node.before("scaled", "multiply_scalar", {"scalar": alpha}, product)
    return node.finish("add", {}, scaled, node.before("beta", "multiply_scalar", {"scalar": beta}, node.input(2)))


def _syrk(node: MxnetNode) -> Call:
    alpha, data = node.text("alpha", "1"), node.input()
    other = node.before("transposed", "swapaxes", {"dim1": -1, "dim2": -2}, data)
    pair = (other, data) if node.flag("transpose") else (data, other)
    return node.finish("multiply_scalar", {"scalar": alpha}, node.before("product", "matmul", {}, *pair))


def _roi_align(node: MxnetNode) -> Call:
    if node.flag("position_sensitive"):
        raise GraphError(f"{node.op}: attribute 'position_sensitive' is not supported")
    attrs = {
        "pooled": node.text("pooled_size", ""),
        "scale": node.text("spatial_scale", ""),
        "samples": max(node.ints("sample_ratio", "-1")[0], 0),
        "aligned": node.flag("aligned"),
    }
    rois = node.before("corners", "slice_axis", {"axis": 1, "begin": 1, "end": 5}, node.input(1))
    first = node.before("sample", "slice_axis", {"axis": 1, "begin": 0, "end": 1}, node.input(1))
    samples = node.before("index", "cast", {"dtype": "int64"}, node.before("row", "squeeze", {"axis": 1}, first))
    return node.finish("roi_align", attrs, node.input(), rois, samples)


def _batch_take(node: MxnetNode) -> Call:
    return node.finish("pick", {"axis": 1}, node.input(), node.input(1))


def _softmin(node: MxnetNode) -> Call:
    axis = node.text("axis", "-1")
    for name in ("temperature", "dtype"):
        if node.text(name, "None") != "None":
            raise GraphError(f"{node.op}: attribute {name!r} is not supported")
    return node.finish("softmax", {"axis": axis}, node.before("negative", "negative", {}, node.input()))


def _argmax_channel(node: MxnetNode) -> Call:
    index = node.before("index", "argmax", {"axis": 1}, node.input())
    return node.finish("cast", {"dtype": "float32"}, index)


def _quadratic(node: MxnetNode) -> Call:
    a, b, c = (node.text(key, "0") for key in "abc")
    square = node.before("square", "square", {}, node.input())
    terms = node.before("a", "multiply_scalar", {"scalar": a}, square)
    linear = node.before("b", "multiply_scalar", {"scalar": b}, node.input())
    return node.finish("add_scalar", {"scalar": c}, node.before("terms", "add", {}, terms, linear))


def _full(node: MxnetNode) -> Call:
    node.drop("ctx")
    attrs = {"shape": node.ints("shape"), "value": node.text("value", ""), "dtype": node.text("dtype", "float32")}
    return node.finish("full", attrs)


def _arange(node: MxnetNode) -> Call:
    """Each number ``repeat`` times."""
    node.drop("ctx")
    if node.flag("infer_range"):
        raise GraphError(f"{node.op}: attribute 'infer_range' is not supported")
    start, stop, step = node.text("start", "0"), node.text("stop", "None"), node.text("step", "1")
    repeat, dtype = node.text("repeat", "1"), node.text("dtype", "float32")
    start, stop = ("0", start) if stop == "None" else (start, stop)
    made = node.before("numbers", "arange", {"start": start, "stop": stop, "step": step, "dtype": dtype})
    return node.finish("repeat", {"repeats": repeat, "axis": 0}, made)


def _same(op: str, **attrs: Any) -> Read:
    """An operator of ours under another name, with some attributes added."""

    def read(node: MxnetNode) -> Call:
        given: Mapping[str, str] = dict(node.attrs)
        node.drop(*given)
        return node.finish(op, {**given, **attrs}, *node.inputs)

    return read


# Attributes of layers that have no meaning at inference on a CPU.
_BACKEND = ("cudnn_off", "cudnn_tune", "workspace")


def _quantized(op: str) -> Read:
    """An operator of a graph that MXNet quantized: `minidnn.ops.triples`."""

    def read(node: MxnetNode) -> Call:
        node.drop(*_BACKEND)
        return _same(op)(node)

    return read


_QUANTIZED = {
    "quantize": "quantize",
    "requantize": "requantize",
    "quantized_act": "quantized_act",
    "quantized_pooling": "quantized_pooling",
    "quantized_flatten": "quantized_flatten",
    "quantized_transpose": "quantized_transpose",
    "quantized_conv": "quantized_conv",
    "quantized_fully_connected": "quantized_fully_connected",
    "quantized_reshape": "quantized_reshape",
    "quantized_elemwise_add": "quantized_add",
    "quantized_npi_add": "quantized_add",
    "quantized_concat": "quantized_concat",
}
_COMPARISONS = {
    "equal": ("equal",),
    "not_equal": ("not_equal",),
    "greater": ("greater",),
    "greater_equal": ("greater_equal",),
    "less": ("lesser",),
    "less_equal": ("lesser_equal",),
    "logical_and": ("logical_and",),
    "logical_or": ("logical_or",),
    "logical_xor": ("logical_xor",),
}


def _comparisons() -> dict[str, Upgrade]:
    found: dict[str, Upgrade] = {}
    for ours, (theirs,) in _COMPARISONS.items():
        meaning = f"{ours}, cast to the dtype of the first input"
        camel = "".join(word.capitalize() for word in theirs.split("_"))
        found |= dict.fromkeys((f"broadcast_{theirs}", f"_{theirs}", f"_{camel}"), Upgrade(_comparison(ours), meaning))
        scalar = Upgrade(_comparison(f"{ours}_scalar"), meaning)
        found |= dict.fromkeys((f"_{theirs}_scalar", f"_{camel}Scalar"), scalar)
    return found


_LABEL = "the label is not read"
OLDER: dict[str, Upgrade] = {
    **dict.fromkeys(
        ("LinearRegressionOutput", "MAERegressionOutput", "SVMOutput", "MakeLoss", "IdentityAttachKLSparseReg"),
        Upgrade(_loss("identity"), f"identity; {_LABEL}"),
    ),
    "LogisticRegressionOutput": Upgrade(_loss("sigmoid"), f"sigmoid; {_LABEL}"),
    **_comparisons(),
    "zeros_like": Upgrade(_filled_like(0.0), "full_like"),
    "ones_like": Upgrade(_filled_like(1.0), "full_like"),
    "norm": Upgrade(_norm, "sum of squares or magnitudes, without axis of shape (1,)"),
    "sort": Upgrade(_sorted("sort"), "sort", "is_ascend"),
    "argsort": Upgrade(_sorted("argsort"), "argsort, cast to float32"),
    "dot": Upgrade(_dot, "the last axis with the first one", "transpose_a"),
    **dict.fromkeys(
        ("linalg_gemm2", "_linalg_gemm2", "linalg_gemm", "_linalg_gemm"), Upgrade(_gemm, "matmul, scaled and added")
    ),
    **dict.fromkeys(("linalg_syrk", "_linalg_syrk"), Upgrade(_syrk, "matmul with its transpose, scaled")),
    **dict.fromkeys(("linalg_inverse", "_linalg_inverse"), Upgrade(_same("linalg_inv"), "linalg_inv")),
    "_linalg_det": Upgrade(_same("linalg_det"), "linalg_det"),
    **dict.fromkeys(("linalg_potrf", "_linalg_potrf"), Upgrade(_same("linalg_cholesky"), "linalg_cholesky")),
    **dict.fromkeys(("ROIAlign", "_contrib_ROIAlign"), Upgrade(_roi_align, "roi_align")),
    "batch_take": Upgrade(_batch_take, "pick"),
    "softmin": Upgrade(_softmin, "softmax of the negative"),
    "argmax_channel": Upgrade(_argmax_channel, "argmax, cast to float32"),
    "_contrib_quadratic": Upgrade(_quadratic, "a x² + b x + c"),
    "_full": Upgrade(_full, "full"),
    "_arange": Upgrade(_arange, "arange"),
    "_eye": Upgrade(_same("eye"), "eye"),
    "_hypot": Upgrade(_same("hypot"), "hypot"),
    "_hypot_scalar": Upgrade(_same("hypot_scalar"), "hypot_scalar"),
    **dict.fromkeys(("_maximum", "_Maximum"), Upgrade(_same("maximum"), "maximum")),
    **dict.fromkeys(("_minimum", "_Minimum"), Upgrade(_same("minimum"), "minimum")),
    **dict.fromkeys(("_power", "_Power"), Upgrade(_same("power"), "power")),
    **dict.fromkeys(("_mod", "_Mod"), Upgrade(_same("mod"), "mod")),
    "_div": Upgrade(_same("true_divide"), "true_divide"),
    "_grad_add": Upgrade(_same("add"), "add"),
    **{
        f"{prefix}{theirs}": Upgrade(_quantized(f"mxnet_{ours}"), "integers and their range")
        for theirs, ours in _QUANTIZED.items()
        for prefix in ("_contrib_", "_npx_")
    },
}
