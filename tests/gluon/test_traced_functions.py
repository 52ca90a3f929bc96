"""Every function of mx.np and mx.npx and every method of arrays: compiled, fused and exported as eagerly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as onp
import pytest

from minidnn import init, npx
from minidnn import numpy as np
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon import HybridBlock, SymbolBlock, nn

RNG = onp.random.default_rng(11)
X = RNG.uniform(0.1, 0.9, (3, 4)).astype(onp.float32)
N = RNG.integers(0, 3, (3, 4)).astype(onp.int64)

Forward = Callable[[Any, Any], Any]


class Network(HybridBlock):
    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any, n: Any) -> Any:
        result = self.function(x, n)
        # Both are read whatever the function reads.
        return result, x + n


def filled_diagonal(a: Any, value: Any, wrap: bool = False) -> Any:
    copy = a.copy()
    np.fill_diagonal(copy, value, wrap)
    return copy


UNARY = (
    *("abs", "absolute", "arccos", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "ceil", "cos", "cosh", "deg2rad"),
    *("degrees", "exp", "expm1", "fabs", "fix", "floor", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "log"),
    *("log10", "log1p", "log2", "logical_not", "negative", "positive", "rad2deg", "radians", "reciprocal", "rint"),
    *("sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "copy", "ravel", "all", "any", "amax", "amin"),
    *("argmax", "argmin", "max", "min", "mean", "prod", "std", "sum", "var", "average", "around", "round", "round_"),
    *("atleast_1d", "atleast_2d", "atleast_3d", "transpose", "permute_dims", "squeeze", "flip", "fliplr", "flipud"),
    *("rot90", "nonzero", "argwhere", "flatnonzero", "sort", "argsort", "median", "nanmax", "nanmean", "nanmin"),
    *("nansum", "cumsum", "cumprod", "diag", "diagflat", "diagonal", "trace", "tril", "triu", "diff", "ediff1d", "ptp"),
    *("nan_to_num", "unique", "cov", "corrcoef", "histogram", "zeros_like", "ones_like", "array", "asarray"),
    *("ascontiguousarray", "acos", "alltrue", "asin", "asinh", "atan", "atanh", "modf", "msort", "nanprod", "nanstd"),
    *("nanvar", "product", "real", "signbit", "sometrue", "trapz"),
)
BINARY = (
    *("add", "arctan2", "copysign", "divide", "equal", "floor_divide", "fmax", "fmin", "fmod", "greater"),
    *("greater_equal", "heaviside", "hypot", "isclose", "allclose", "array_equal", "array_equiv", "isin", "less"),
    *("less_equal", "logaddexp", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply"),
    *("not_equal", "power", "remainder", "subtract", "true_divide", "outer", "inner", "vdot", "kron", "append"),
    *("union1d", "intersect1d", "setdiff1d", "broadcast_arrays", "atan2", "divmod", "float_power", "pow"),
)
BITS = ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift", "gcd", "lcm")

FUNCTIONS: dict[str, list[Forward]] = {
    **{name: [lambda x, n, name=name: getattr(np, name)(x)] for name in UNARY},
    **{name: [lambda x, n, name=name: getattr(np, name)(x, x[:, ::-1] * 1.5)] for name in BINARY},
    **{name: [lambda x, n, name=name: getattr(np, name)(n, n + 1)] for name in BITS},
    **{name: [lambda x, n, name=name: getattr(np, name)(n)] for name in ("bitwise_not", "bitwise_invert", "invert")},
    "arccosh": [lambda x, n: np.arccosh(x + 1)],
    "acosh": [lambda x, n: np.acosh(x + 1)],
    "ldexp": [lambda x, n: np.ldexp(x, 3)],
    **{name: [lambda x, n, name=name: getattr(np, name)(x[0], n[0] + 1)] for name in ("polyadd", "polysub")},
    **{
        name: [
            lambda x, n, name=name: getattr(np, name)(np.where(n > 0, x, np.nan)),
            lambda x, n, name=name: getattr(np, name)(np.where(x > 0.15, x, np.nan), 1),
            lambda x, n, name=name: getattr(np, name)(n, axis=0),
        ]
        for name in ("nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmedian")
    },
    **{
        name: [
            lambda x, n, name=name: getattr(np, name)(np.where(n > 0, x, np.nan), 0.4),
            lambda x, n, name=name: getattr(np, name)(x, [0.1, 0.5], axis=(0, 1), keepdims=True, method="lower"),
            lambda x, n, name=name: getattr(np, name)(n, 0.3, 1),
        ]
        for name in ("nanpercentile", "nanquantile")
    },
    **{name: [lambda x, n, name=name: getattr(np, name)(n)] for name in ("unique_all", "unique_inverse")},
    "unique_values": [lambda x, n: np.unique_values(n), lambda x, n: np.unique_values(x)],
    "apply_over_axes": [lambda x, n: np.apply_over_axes(np.sum, x, (0, 1))],
    "correlate": [
        lambda x, n: np.correlate(x[0], x[1, :2]),
        lambda x, n: np.correlate(n[0], [1, 2], "full"),
        lambda x, n: np.correlate(x[0], n[1], "same"),
    ],
    "extract": [lambda x, n: np.extract(n > 0, x), lambda x, n: np.extract(x[0] > 0.3, [1, 2, 3, 4])],
    "fill_diagonal": [lambda x, n: filled_diagonal(x, 7), lambda x, n: filled_diagonal(n.T * 1, x[0, :2], True)],
    "frexp": [lambda x, n: np.frexp(x * 9), lambda x, n: np.frexp(n)],
    "histogram2d": [
        lambda x, n: np.histogram2d(x[0], n[0], 3),
        lambda x, n: np.histogram2d(x[0], x[1], [2, np.sort(x[2])], [(0, 1), (0, 1)], True, x[2]),
    ],
    "histogram_bin_edges": [
        lambda x, n: np.histogram_bin_edges(x, 3),
        lambda x, n: np.histogram_bin_edges(n, "sturges", (0, 5)),
        lambda x, n: np.histogram_bin_edges(x, [0.0, 1.0]),
    ],
    "histogramdd": [
        lambda x, n: np.histogramdd(x, 2),
        lambda x, n: np.histogramdd((x[0], n[0]), [[0.0, 0.5, 1.0], 2], weights=n[1]),
    ],
    "i0": [lambda x, n: np.i0(x), lambda x, n: np.i0(n)],
    "in1d": [lambda x, n: np.in1d(n, [1, 2]), lambda x, n: np.in1d(x, x[0], invert=True)],
    "ix_": [lambda x, n: np.ix_(n[0], [1, 2]), lambda x, n: x[np.ix_(x[:, 0] > 0.3, n[0] > 0)]],
    "packbits": [lambda x, n: np.packbits(n > 0), lambda x, n: np.packbits(n, axis=1, bitorder="little")],
    "piecewise": [
        lambda x, n: np.piecewise(x, [x < 0.3, x > 0.6], [0, lambda v: v * 2, -1]),
        lambda x, n: np.piecewise(n, n > 1, [lambda v, k: v + k, 5], 3),
    ],
    "poly": [lambda x, n: np.poly(x[0]), lambda x, n: np.poly(x[:, :3]), lambda x, n: np.poly(n[0])],
    "polydiv": [lambda x, n: np.polydiv(x[0], x[1, :2]), lambda x, n: np.polydiv(n[0, :1], x[0])],
    "polyfit": [
        lambda x, n: np.polyfit(x[0], x[1], 2),
        lambda x, n: np.polyfit(x[0], x.T, 1, w=x[2] + n[0]),
        lambda x, n: np.polyfit(x[0], x[1], 1, cov="unscaled"),
        lambda x, n: np.polyfit(x[0], x[1], 1, full=True),
    ],
    "polyint": [lambda x, n: np.polyint(x[0]), lambda x, n: np.polyint(n[0], 2, x[0, :2])],
    "polymul": [lambda x, n: np.polymul(n[0], n[1]), lambda x, n: np.polymul(x[0], [0, 1, 2])],
    "roots": [lambda x, n: np.roots(np.polymul(np.polymul([1, 0.5], x[0, :2]), n[0, :1] + 1))],
    "select": [
        lambda x, n: np.select([n == 0, x > 0.5], [x, n]),
        lambda x, n: np.select([n == 1], [7], x),
        lambda x, n: np.select(n[:2] > 0, x[:2], 0.5),
    ],
    "setxor1d": [lambda x, n: np.setxor1d(n[0], n[1]), lambda x, n: np.setxor1d(x, [1, 2])],
    "spacing": [lambda x, n: np.spacing(x), lambda x, n: np.spacing(x.astype("float16"))],
    "trim_zeros": [
        lambda x, n: np.trim_zeros(n[0]),
        lambda x, n: np.trim_zeros(np.where(x > 0.8, x, 0), "f"),
        lambda x, n: np.trim_zeros(n[1] * 0, "b"),
    ],
    "unpackbits": [
        lambda x, n: np.unpackbits(n.astype("uint8"), 1),
        lambda x, n: np.unpackbits(n.astype("uint8"), count=-3, bitorder="little"),
    ],
    "unwrap": [lambda x, n: np.unwrap(x * 20), lambda x, n: np.unwrap(n * 3, axis=0, period=4)],
    "vander": [lambda x, n: np.vander(x[0]), lambda x, n: np.vander(n[0], 3, increasing=True)],
    "apply_along_axis": [
        lambda x, n: np.apply_along_axis(np.sum, 0, x),
        lambda x, n: np.apply_along_axis(lambda row: row[:2] * 2, 1, x),
    ],
    "argpartition": [lambda x, n: np.argpartition(x, 1)],
    "partition": [lambda x, n: np.partition(x, (0, 2), axis=0)],
    "array": [lambda x, n: np.array(x), lambda x, n: np.array([[x[0, 0], 1], [x[1, 1], x.sum()]])],
    "array_split": [lambda x, n: np.array_split(x, 3, axis=1)],
    "bincount": [lambda x, n: np.bincount(n[0]), lambda x, n: np.bincount(n[0], x[1], minlength=7)],
    "broadcast_to": [lambda x, n: np.broadcast_to(x, (2, 3, 4))],
    "choose": [lambda x, n: np.choose(n, [x, x * 2, 7.0]), lambda x, n: np.choose(n + 1, [x, n], mode="wrap")],
    "clip": [lambda x, n: np.clip(x, 0.2, 0.5)],
    "column_stack": [lambda x, n: np.column_stack([x[:, 0], x])],
    "compress": [lambda x, n: np.compress(n[:, 0] > 0, x, 0), lambda x, n: np.compress([True, False, True], x, 0)],
    "concat": [lambda x, n: np.concat([x, n], 1)],
    "concatenate": [lambda x, n: np.concatenate([x, x * 2], axis=None)],
    "corrcoef": [lambda x, n: np.corrcoef(x), lambda x, n: np.corrcoef(x, x[::-1], rowvar=False)],
    "count_nonzero": [lambda x, n: np.count_nonzero(n, axis=0), lambda x, n: np.count_nonzero(x > 0.5)],
    "cov": [lambda x, n: np.cov(x), lambda x, n: np.cov(x[0], x[1], bias=True), lambda x, n: np.cov(x[0])],
    "cross": [lambda x, n: np.cross(x[:, :3], x[:, 1:]), lambda x, n: np.cross(x, x[::-1], axis=0)],
    "cumprod": [lambda x, n: np.cumprod(x, 1), lambda x, n: np.cumprod(n)],
    "cumsum": [lambda x, n: np.cumsum(x, axis=1), lambda x, n: np.cumsum(n.astype("uint8")), lambda x, n: x.cumsum(0)],
    "delete": [
        lambda x, n: np.delete(x, 1, 0),
        lambda x, n: np.delete(x, slice(1, 3)),
        lambda x, n: np.delete(x, n[0], 1),
    ],
    "diag": [lambda x, n: np.diag(x, 1), lambda x, n: np.diag(n[0], -2)],
    "diag_indices_from": [lambda x, n: [p + n[0, 0] for p in np.diag_indices_from(x[:, :3])]],
    "diagonal": [lambda x, n: np.diagonal(np.stack([x, x]), 1, 0, 2)],
    "diff": [
        lambda x, n: np.diff(x, 2, 0),
        lambda x, n: np.diff(n > 0),
        lambda x, n: np.diff(x, prepend=0, append=x[:, :1]),
    ],
    "digitize": [lambda x, n: np.digitize(x, [0.2, 0.5]), lambda x, n: np.digitize(n, np.sort(n[0]), right=True)],
    "dot": [lambda x, n: np.dot(x, x.T), lambda x, n: np.dot(n, n.T)],
    "dsplit": [lambda x, n: np.dsplit(np.stack([x, x]), 2)],
    "dstack": [lambda x, n: np.dstack([x, x])],
    "ediff1d": [lambda x, n: np.ediff1d(x, to_end=[1, 2], to_begin=0)],
    "einsum": [
        lambda x, n: np.einsum("ij,kj->ik", x, x),
        lambda x, n: np.einsum("ij,kj,lj->ikl", x, x, x),
        lambda x, n: np.einsum("...j->...", x),
        lambda x, n: np.einsum("ii->i", x[:, :3]),
        lambda x, n: np.einsum("ij,kj->ik", n, n),
    ],
    "expand_dims": [lambda x, n: np.expand_dims(x, 1)],
    "full": [lambda x, n: np.full((2, 3), x[0, 0])],
    "full_like": [lambda x, n: np.full_like(x, x[0])],
    "heaviside": [lambda x, n: np.heaviside(x - 0.5, 0.5), lambda x, n: np.heaviside(n, n)],
    "histogram": [
        lambda x, n: np.histogram(x, 4, (0, 1)),
        lambda x, n: np.histogram(n, [0, 1, 3], density=True),
        lambda x, n: np.histogram(x, np.sort(x[0]), weights=x),
        lambda x, n: np.histogram(x, "auto"),
    ],
    "hsplit": [lambda x, n: np.hsplit(x, 2)],
    "hstack": [lambda x, n: np.hstack([x, n])],
    "insert": [
        lambda x, n: np.insert(x, 1, 0.0, 0),
        lambda x, n: np.insert(x, [0, 2], x[:, :2], 1),
        lambda x, n: np.insert(x, 2, n[0, 0]),
        lambda x, n: np.insert(x, n[0] - 1, 5, axis=1),
        lambda x, n: np.insert(x, n[0, 0], x[:, 0], axis=1),
    ],
    "interp": [lambda x, n: np.interp(x, [0, 1], [2, 3]), lambda x, n: np.interp(x, np.sort(x[0]), x[1], left=0)],
    "intersect1d": [
        lambda x, n: np.intersect1d(n[0], n[1]),
        lambda x, n: np.intersect1d(n, [1, 2, 9], return_indices=True),
    ],
    "isin": [lambda x, n: np.isin(n, [1, 2], invert=True)],
    "lexsort": [lambda x, n: np.lexsort((x[0], n[0])), lambda x, n: np.lexsort(x)],
    "linspace": [lambda x, n: np.linspace(x[0], x[1], 5), lambda x, n: np.linspace(0, x, 3, endpoint=False, axis=1)],
    "logaddexp": [lambda x, n: np.logaddexp(x, n), lambda x, n: np.logaddexp(x, 0.5)],
    "logspace": [lambda x, n: np.logspace(x[0], x[1], 3)],
    "matmul": [lambda x, n: np.matmul(x, x.T), lambda x, n: np.matmul(n, n.T)],
    "median": [lambda x, n: np.median(x, axis=(0, 1)), lambda x, n: np.median(n, 1, keepdims=True)],
    "meshgrid": [
        lambda x, n: np.meshgrid(x[0], n[:, 0]),
        lambda x, n: np.meshgrid(x[0], x[1], x[2], indexing="ij", sparse=True),
    ],
    "moveaxis": [lambda x, n: np.moveaxis(x, 0, 1)],
    "nan_to_num": [lambda x, n: np.nan_to_num(x / n, nan=-1, posinf=3)],
    "nansum": [lambda x, n: np.nansum(np.where(n > 0, x, np.nan), axis=0), lambda x, n: np.nansum(n)],
    "nonzero": [lambda x, n: np.nonzero(n), lambda x, n: n[0].nonzero()],
    "pad": [lambda x, n: np.pad(x, ((0, 1), (2, 0)))],
    "percentile": [
        lambda x, n: np.percentile(x, 30),
        lambda x, n: np.percentile(n, [10, 90], axis=1, method="nearest"),
    ],
    "polyval": [lambda x, n: np.polyval([1.0, 2.0], x), lambda x, n: np.polyval(x[0], n)],
    "quantile": [lambda x, n: np.quantile(x, [0.0, 0.3], axis=0, keepdims=True)],
    "repeat": [lambda x, n: np.repeat(x, 2, 1)],
    "reshape": [lambda x, n: np.reshape(x, (2, -1))],
    "resize": [lambda x, n: np.resize(x, (5, 5))],
    "roll": [lambda x, n: np.roll(x, 1, 1)],
    "rollaxis": [lambda x, n: np.rollaxis(x, 1)],
    "row_stack": [lambda x, n: np.row_stack([x, x])],
    "searchsorted": [
        lambda x, n: np.searchsorted(np.sort(x[0]), x, "right"),
        lambda x, n: np.searchsorted(x[0], n, sorter=np.argsort(x[0])),
    ],
    "setdiff1d": [lambda x, n: np.setdiff1d(n, [1]), lambda x, n: np.setdiff1d(x[0], x[0, :2], assume_unique=True)],
    "sort": [lambda x, n: np.sort(x, 0, descending=True), lambda x, n: n.sort(None)],
    "argsort": [lambda x, n: np.argsort(n, 0), lambda x, n: n.argsort(None, descending=True)],
    "split": [lambda x, n: np.split(x, [1, 3], axis=1)],
    "stack": [lambda x, n: np.stack([x, n], -1)],
    "swapaxes": [lambda x, n: np.swapaxes(x, 0, 1)],
    "take": [lambda x, n: np.take(x, n, axis=0), lambda x, n: np.take(x, [1, -1])],
    "take_along_axis": [
        lambda x, n: np.take_along_axis(x, n, 1),
        lambda x, n: np.take_along_axis(x, n[:1] - 3, 0),
    ],
    "tensordot": [
        lambda x, n: np.tensordot(x, x, axes=([1], [1])),
        lambda x, n: np.tensordot(x, x, 0),
        lambda x, n: np.tensordot(n, n.T, 1),
    ],
    "tile": [lambda x, n: np.tile(x, (2, 1))],
    "trace": [lambda x, n: np.trace(n.astype("int32"), 1), lambda x, n: np.trace(x, dtype="float64")],
    "tril": [lambda x, n: np.tril(x, -1), lambda x, n: np.tril(x[0])],
    "unique": [
        lambda x, n: np.unique(n),
        lambda x, n: np.unique(n, True, True, True),
        lambda x, n: np.unique(n, return_counts=True, axis=1),
    ],
    "unravel_index": [lambda x, n: np.unravel_index(n, (2, 3)), lambda x, n: np.unravel_index(n, 5)],
    "vsplit": [lambda x, n: np.vsplit(x, 3)],
    "vstack": [lambda x, n: np.vstack([x, n])],
    "where": [lambda x, n: np.where(n > 0, x, -1), lambda x, n: np.where(x > 0.5)],
}

NPX_UNARY = (
    *("batch_flatten", "erf", "erfinv", "gamma", "gammaln", "gelu", "hard_sigmoid", "hard_swish", "l2_normalization"),
    *("log_sigmoid", "log_softmax", "mish", "nonzero", "norm", "relu", "shape_array", "sigmoid", "silu", "smooth_l1"),
    *("softmax", "softsign", "stop_gradient", "dropout", "arange_like", "topk", "leaky_relu", "add_n", "sequence_mask"),
)
IMAGE = (1, 2, 6, 1)


def _image(x: Any) -> Any:
    return x.reshape(IMAGE)


_RNN: dict[str, Any] = {"state_size": 3, "num_layers": 1}
_ENDS: dict[str, Any] = {**_RNN, "use_sequence_length": True, "state_outputs": True}


def _boxes(x: Any) -> Any:
    """Corners (N, 4): the second is right of and below the first."""
    return np.concatenate([x[:, :2], x[:, :2] + 1 + x[:, 2:]], axis=1)


def _grid(x: Any) -> Any:
    """Where to read, (1, 2, 2, 3), between -1 and 1."""
    return np.tanh(x.reshape((1, 2, 2, 3)))


_SLIDING: dict[str, Any] = {"w": 1, "symmetric": True}


def _scores(x: Any) -> Any:
    """Of a sliding window of three keys: (batch, length, heads, 3)."""
    return npx.sldwin_atten_score(x.reshape((1, 3, 1, 4)), x.reshape((1, 3, 1, 4)), np.ones(1, "int32"), **_SLIDING)


NPX: dict[str, list[Forward]] = {
    "adaptive_avg_pooling_2d": [lambda x, n: npx.adaptive_avg_pooling_2d(_image(x), (2, 1))],
    "attention": [
        lambda x, n: npx.attention(x[None], x[None] + 1, x[None] * 2),
        lambda x, n: npx.attention(x[None], x[None] + 1, x[None] * 2, causal=True, scale=0.5),
    ],
    "bilinear_resize_2d": [lambda x, n: npx.bilinear_resize_2d(_image(x), height=4, width=5)],
    "bilinear_sampler": [lambda x, n: npx.bilinear_sampler(_image(x), _grid(x))],
    "bipartite_matching": [lambda x, n: npx.bipartite_matching(x, 0.1)],
    "box_decode": [lambda x, n: npx.box_decode(x[None], _boxes(x)[None], format="corner")],
    "box_encode": [
        lambda x, n: npx.box_encode(
            np.ones((1, 3)), np.zeros((1, 3)), _boxes(x)[None], _boxes(x + 1)[None], np.zeros(4), np.ones(4)
        )
    ],
    "box_iou": [lambda x, n: npx.box_iou(_boxes(x), _boxes(x + 0.5))],
    "box_nms": [
        lambda x, n: npx.box_nms(np.concatenate([np.ones((3, 1)), x[:, :1], _boxes(x)], axis=1), coord_start=2)
    ],
    "cond": [lambda x, n: npx.cond(np.ones(1), lambda: x + 1, lambda: x - 1)],
    "deformable_convolution": [
        lambda x, n: npx.deformable_convolution(
            _image(x), np.ones((1, 2, 6, 1)) / 3, np.ones((1, 2, 1, 1)), kernel=(1, 1), num_filter=1, no_bias=True
        )
    ],
    "modulated_deformable_convolution": [
        lambda x, n: npx.modulated_deformable_convolution(
            _image(x),
            np.ones((1, 2, 6, 1)) / 3,
            np.ones((1, 1, 6, 1)) / 2,
            np.ones((1, 2, 1, 1)),
            kernel=(1, 1),
            num_filter=1,
            no_bias=True,
        )
    ],
    "depth_to_space": [lambda x, n: npx.depth_to_space(x.reshape((1, 4, 1, 3)), 2)],
    "space_to_depth": [lambda x, n: npx.space_to_depth(x.reshape((1, 1, 2, 6)), 2)],
    "div_sqrt_dim": [lambda x, n: npx.div_sqrt_dim(x)],
    "foreach": [lambda x, n: npx.foreach(lambda row, total: (row * 2 + total, total + row), x, np.zeros(4))],
    "while_loop": [
        lambda x, n: npx.while_loop(lambda a, i: i < 3, lambda a, i: (a * 2, [a + 1, i + 1]), [x, np.zeros(1)], 5)
    ],
    "grid_generator": [lambda x, n: npx.grid_generator(x[:2, :3].reshape((1, 6)), "affine", (2, 3))],
    "spatial_transformer": [
        lambda x, n: npx.spatial_transformer(_image(x), np.tanh(x[:2, :3]).reshape((1, 6)), (2, 3))
    ],
    "interleaved_matmul_selfatt_qk": [lambda x, n: npx.interleaved_matmul_selfatt_qk(x.reshape((2, 1, 6)), 2)],
    "interleaved_matmul_selfatt_valatt": [
        lambda x, n: npx.interleaved_matmul_selfatt_valatt(x.reshape((2, 1, 6)), np.ones((2, 2, 2)) / 2, 2)
    ],
    "interleaved_matmul_encdec_qk": [
        lambda x, n: npx.interleaved_matmul_encdec_qk(x[:, :2].reshape((3, 1, 2)), x.reshape((3, 1, 4)), 2)
    ],
    "interleaved_matmul_encdec_valatt": [
        lambda x, n: npx.interleaved_matmul_encdec_valatt(x.reshape((3, 1, 4)), np.ones((2, 3, 3)) / 3, 2)
    ],
    "lrn": [lambda x, n: npx.lrn(_image(x), nsize=3)],
    "multibox_detection": [
        lambda x, n: npx.multibox_detection(
            npx.softmax(x[:2, :3])[None], np.zeros((1, 12)), _boxes(x)[None] / 4, threshold=0.1
        )
    ],
    "multibox_prior": [lambda x, n: npx.multibox_prior(_image(x), sizes=(0.5, 0.25), ratios=(1, 2))],
    "multibox_target": [
        lambda x, n: npx.multibox_target(
            _boxes(x)[None] / 4, np.array([[[0, 0.1, 0.1, 0.9, 0.9]]]), np.zeros((1, 2, 3))
        )
    ],
    "roi_align": [lambda x, n: npx.roi_align(_image(x), np.array([[0, 0, 0, 2, 2]], dtype="float32"), (2, 2), 1.0, 2)],
    "roi_pooling": [lambda x, n: npx.roi_pooling(_image(x), np.array([[0, 0, 0, 2, 2]], dtype="float32"), (2, 2), 1.0)],
    "sldwin_atten_score": [lambda x, n: _scores(x)],
    "sldwin_atten_context": [
        lambda x, n: npx.sldwin_atten_context(_scores(x), x.reshape((1, 3, 1, 4)), np.ones(1, "int32"), **_SLIDING)
    ],
    "sldwin_atten_mask_like": [
        lambda x, n: npx.sldwin_atten_mask_like(_scores(x), np.ones(1, "int32"), np.full((1,), 2, "int32"), **_SLIDING)
    ],
    "upsampling": [lambda x, n: npx.upsampling(_image(x), scale=2, sample_type="nearest")],
    **{name: [lambda x, n, name=name: getattr(npx, name)(x)] for name in NPX_UNARY},
    "activation": [lambda x, n: npx.activation(x - 0.5, "relu")],
    "batch_norm_with_relu": [lambda x, n: npx.batch_norm_with_relu(_image(x), *(np.ones(2) for _ in range(4)))],
    "sync_batch_norm": [lambda x, n: npx.sync_batch_norm(_image(x), *(np.ones(2) for _ in range(4)))],
    "broadcast_greater": [lambda x, n: npx.broadcast_greater(x, x[:, ::-1])],
    "constraint_check": [lambda x, n: npx.constraint_check(x > 0)],
    "contrib_quantize_v2": [lambda x, n: npx.contrib_quantize_v2(x)],
    "index_add": [lambda x, n: npx.index_add(x, np.array([[0, 1]], dtype="int32"), np.ones((2, 4)))],
    "index_update": [lambda x, n: npx.index_update(x, np.array([[0, 1]], dtype="int32"), np.ones((2, 4)))],
    "intgemm_maxabsolute": [lambda x, n: npx.intgemm_maxabsolute(x)],
    "intgemm_prepare_data": [lambda x, n: npx.intgemm_prepare_data(x, 2)],
    "intgemm_prepare_weight": [lambda x, n: npx.intgemm_prepare_weight(x, 2)],
    "intgemm_take_weight": [lambda x, n: npx.intgemm_take_weight(x, n)],
    "rnn": [
        lambda x, n: npx.rnn(x.reshape((3, 2, 2)), np.ones(21) / 9, np.ones((1, 2, 3)), mode="rnn_tanh", **_RNN),
        lambda x, n: npx.rnn(
            x.reshape((3, 2, 2)), np.ones(84) / 9, *[np.ones((1, 2, 3))] * 2, n[0, :2], mode="lstm", **_ENDS
        ),
    ],
    "pad": [lambda x, n: npx.pad(_image(x), mode="constant", pad_width=(0, 0, 0, 0, 1, 1, 1, 1))],
    **{name: [lambda x, n, name=name: getattr(npx, name)(x)] for name in ("digamma", "round_ste", "sign_ste")},
    "sequence_last": [lambda x, n: npx.sequence_last(x)],
    "sequence_reverse": [lambda x, n: npx.sequence_reverse(x)],
    "slice_channel": [lambda x, n: npx.slice_channel(x, 2)],
    "batch_dot": [lambda x, n: npx.batch_dot(x[None], x[None], transpose_b=True)],
    "batch_norm": [lambda x, n: npx.batch_norm(_image(x), *(np.ones(2) for _ in range(4)))],
    "broadcast_like": [lambda x, n: npx.broadcast_like(x[:1], n)],
    "cast": [lambda x, n: npx.cast(x, "float64")],
    "convolution": [
        lambda x, n: npx.convolution(_image(x), np.ones((3, 2, 3, 1)), kernel=(3, 1), num_filter=3, no_bias=True)
    ],
    "deconvolution": [
        lambda x, n: npx.deconvolution(_image(x), np.ones((2, 3, 3, 1)), kernel=(3, 1), num_filter=3, no_bias=True)
    ],
    "embedding": [lambda x, n: npx.embedding(n, np.ones((3, 2)), 3, 2)],
    "fully_connected": [lambda x, n: npx.fully_connected(x, np.ones((2, 4)), num_hidden=2, no_bias=True)],
    "gather_nd": [lambda x, n: npx.gather_nd(x, n[:2])],
    "group_norm": [lambda x, n: npx.group_norm(_image(x), np.ones(2), np.zeros(2), num_groups=2)],
    "instance_norm": [lambda x, n: npx.instance_norm(_image(x), np.ones(2), np.zeros(2))],
    "layer_norm": [lambda x, n: npx.layer_norm(x, np.ones(4), np.zeros(4))],
    "masked_softmax": [lambda x, n: npx.masked_softmax(x, n > 0)],
    "masked_log_softmax": [lambda x, n: npx.masked_log_softmax(x, n >= 0)],
    "one_hot": [lambda x, n: npx.one_hot(n, 3)],
    "pick": [lambda x, n: npx.pick(x, n[:, 0])],
    "pooling": [lambda x, n: npx.pooling(_image(x), kernel=(2, 1), pool_type="avg")],
    "reshape": [lambda x, n: npx.reshape(x, (-2, 2, 2))],
    "reshape_like": [lambda x, n: npx.reshape_like(x.T, n)],
    "sequence_mask": [lambda x, n: npx.sequence_mask(x, n[0], use_sequence_length=True, value=-1)],
    "slice": [lambda x, n: npx.slice(x, (0, 1), (2, None))],
    "slice_axis": [lambda x, n: npx.slice_axis(x, 1, 1, 3)],
    "slice_like": [lambda x, n: npx.slice_like(x, n[:2])],
    "topk": [lambda x, n: npx.topk(x, k=2, ret_typ="both")],
}

METHODS: dict[str, list[Forward]] = {
    **{
        name: [lambda x, n, name=name: getattr(x, name)()]
        for name in (
            *("abs", "all", "any", "argmax", "argmin", "argsort", "as_np_ndarray", "as_nd_ndarray", "copy", "cumsum"),
            *("detach", "flatten", "max", "mean", "min", "nonzero", "prod", "ravel", "round", "sort", "squeeze", "std"),
            *("sum", "transpose", "var"),
        )
    },
    **{
        name: [lambda x, n, name=name: getattr(x, name)()]
        for name in (
            *("arccos", "arcsin", "arcsinh", "arctan", "arctanh", "argmax_channel", "broadcast_axes", "cbrt", "ceil"),
            *("cos", "cosh", "degrees", "diag", "diagonal", "exp", "expm1", "fix", "flip", "floor", "log", "log10"),
            *("log1p", "log2", "log_sigmoid", "log_softmax", "mish", "nanprod", "nansum", "norm", "ones_like"),
            *("radians", "rcbrt", "reciprocal", "relu", "rint", "rsqrt", "sigmoid", "sign", "sin", "sinh", "softmax"),
            *("softmin", "sqrt", "square", "tan", "tanh", "topk", "trunc", "zeros_like"),
        )
    },
    "T": [lambda x, n: x.T],
    "arccosh": [lambda x, n: (x + 1).arccosh()],
    "broadcast_like": [lambda x, n: x[:1].broadcast_like(n)],
    "depth_to_space": [lambda x, n: x.reshape(1, 4, 3, 1).depth_to_space(2)],
    "mT": [lambda x, n: x.mT],
    "one_hot": [lambda x, n: n.one_hot(4)],
    "pad": [lambda x, n: x.pad(((1, 0), (0, 2)))],
    "pick": [lambda x, n: x.pick(n[:, 0])],
    "reshape_like": [lambda x, n: x.reshape_like(n)],
    "reshape_view": [lambda x, n: x.reshape_view(4, 3)],
    "slice": [lambda x, n: x.slice((0, 1), (2, 3))],
    "slice_axis": [lambda x, n: x.slice_axis(1, 0, 2)],
    "slice_like": [lambda x, n: x.slice_like(n[:2, :2])],
    "space_to_depth": [lambda x, n: x.reshape(1, 3, 2, 2).space_to_depth(2)],
    "split": [lambda x, n: x.split(2, axis=1)],
    "split_v2": [lambda x, n: x.split_v2(2, axis=1)],
    "astype": [lambda x, n: x.astype("int8")],
    "broadcast_to": [lambda x, n: x.broadcast_to((2, 3, 4))],
    "clip": [lambda x, n: x.clip(0.2, 0.5)],
    "dot": [lambda x, n: x.dot(x.T)],
    "expand_dims": [lambda x, n: x.expand_dims(0)],
    "repeat": [lambda x, n: x.repeat(2)],
    "reshape": [lambda x, n: x.reshape(2, -1)],
    "swapaxes": [lambda x, n: x.swapaxes(0, 1)],
    "take": [lambda x, n: x.take(n, 0)],
    "tile": [lambda x, n: x.tile(2)],
    "tostype": [lambda x, n: x.tostype("default")],
    "argsort": [lambda x, n: x.argsort(0)],
}

INDEXING: list[Forward] = [
    lambda x, n: x[x > 0.5],
    lambda x, n: x[x > 0.5] * 2 + 1,
    lambda x, n: x[x > 0.5].sum(),
    lambda x, n: x[n[:, 0] > 0],
    lambda x, n: x[n[0], n[1]],
    lambda x, n: x[:, n[0]],
    lambda x, n: x[n],
    lambda x, n: x[[0, 2]][:, [1, 1]],
    lambda x, n: x[x > 0.3][::2].reshape(-1, 1),
    lambda x, n: np.sort(x[x > 0.2])[-1],
    lambda x, n: np.concatenate([x[x > 0.5], x[x <= 0.5]]),
    lambda x, n: np.dot(x[n[:, 0] >= 0], x.T),
    lambda x, n: np.array([1, 2, 3])[n],
    lambda x, n: x[x > 0.5][x[x > 0.5] < 0.7],
]


def _square(x: Any) -> Any:
    return np.dot(x, x.T) + np.eye(3)


LINALG: dict[str, list[Forward]] = {
    **{
        name: [lambda x, n, name=name: getattr(np.linalg, name)(_square(x))]
        for name in ("cholesky", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matrix_rank", "slogdet")
    },
    **{
        name: [lambda x, n, name=name: getattr(np.linalg, name)(x)]
        for name in ("matrix_norm", "matrix_transpose", "norm", "pinv", "qr", "svd", "svdvals", "vector_norm")
    },
    "cond": [lambda x, n: np.linalg.cond(x), lambda x, n: np.linalg.cond(_square(x), onp.inf)],
    "cross": [lambda x, n: np.linalg.cross(x[:, :3], x[:, 1:])],
    "diagonal": [lambda x, n: np.linalg.diagonal(x, 1)],
    "lstsq": [lambda x, n: np.linalg.lstsq(x.T, x[0]), lambda x, n: np.linalg.lstsq(n, x[:, :2], 0.1)],
    "matmul": [lambda x, n: np.linalg.matmul(x, x.T)],
    "matrix_norm": [lambda x, n: np.linalg.matrix_norm(np.stack([x, x], 1), "nuc", (0, 2), True)],
    "matrix_power": [lambda x, n: np.linalg.matrix_power(_square(x), -2)],
    "multi_dot": [lambda x, n: np.linalg.multi_dot([x, x.T, x])],
    "norm": [lambda x, n: np.linalg.norm(x, 2), lambda x, n: np.linalg.norm(n, axis=1)],
    "outer": [lambda x, n: np.linalg.outer(x[0], x[1])],
    "solve": [lambda x, n: np.linalg.solve(_square(x), x), lambda x, n: np.linalg.solve(_square(x), n[:, 0])],
    "tensordot": [lambda x, n: np.linalg.tensordot(x, x, 2)],
    "tensorinv": [lambda x, n: np.linalg.tensorinv(_square(x).reshape(3, 3, 1), 1)],
    "tensorsolve": [lambda x, n: np.linalg.tensorsolve(_square(x), x[:, 0])],
    "trace": [lambda x, n: np.linalg.trace(x)],
    "vecdot": [lambda x, n: np.linalg.vecdot(x, x)],
}

# NumPy's own functions and ufuncs, which hand our arrays back to us.
OFFICIAL: list[Forward] = [
    *(
        lambda x, n, name=name: getattr(onp, name)(x)
        for name in (
            *("abs", "angle", "argsort", "atleast_3d", "conj", "deg2rad", "exp2", "fabs", "frexp", "gradient", "imag"),
            *("isreal", "isnan", "max", "median", "modf", "nanmean", "positive", "rad2deg", "ravel", "unique_counts"),
            *(
                "vstack",
                "signbit",
                "sinc",
                "sort",
                "spacing",
                "std",
                "trapezoid",
                "tril",
                "unique_counts",
                "unstack",
            ),
        )
        if hasattr(onp, name)
    ),
    *(
        lambda x, n, name=name: getattr(onp, name)(x, n)
        for name in (
            *("add", "arctan2", "copysign", "divmod", "float_power", "fmax", "heaviside", "hypot", "less", "logaddexp"),
            *("logaddexp2", "logical_and", "maximum", "remainder", "subtract", "union1d", "vecdot"),
        )
        if hasattr(onp, name)
    ),
    lambda x, n: onp.add.reduce(x) + onp.maximum.reduce(n, axis=None, keepdims=True),
    lambda x, n: onp.add.accumulate(x, 1) * onp.multiply.accumulate(n),
    lambda x, n: onp.subtract.outer(x[0], n),
    lambda x, n: onp.logical_or.reduce(n, axis=1),
    lambda x, n: onp.add(x, n, dtype=onp.float64),
    lambda x, n: onp.exp(x, out=np.zeros((3, 4))),
    lambda x, n: onp.modf(x * 3, out=(x * 0, x * 1)),
    lambda x, n: onp.concatenate([x, n], axis=1),
    lambda x, n: onp.block([[x, n], [n[:, :1], x, x[:, :3]]]),
    lambda x, n: onp.convolve(x[0], n[0]),
    lambda x, n: onp.gradient(x, 0.5, axis=1, edge_order=2),
    lambda x, n: onp.matmul(x, n.T),
    lambda x, n: onp.linalg.inv(_square(x)) @ onp.ones((3, 2), onp.float32),
    lambda x, n: onp.linalg.norm(x, axis=1),
    lambda x, n: onp.percentile(x, n[0] * 10, axis=1),
    lambda x, n: onp.select([n > 0, x > 0.5], [x, n]),
    lambda x, n: onp.float32(2) - x,
    lambda x, n: onp.int64(2) ** n,
    lambda x, n: onp.ones(4, onp.float32) / x,
    lambda x, n: onp.arange(12.0).reshape(3, 4) % x,
    lambda x, n: onp.arange(4) > n,
    lambda x, n: np.asarray(x) + np.asarray([n[0, 0], 2], dtype="int32").sum(),
]

NOT_OF_ARRAYS = "takes no arrays, or only their shapes"
VALUES = "gives values to Python, which a graph does not have while it is traced"
OF_INTEGERS = "operators on integers and their ranges, compiled in tests/npx/test_quantized_names.py"
EXEMPT = {
    **dict.fromkeys(("arange", "blackman", "empty", "eye", "hamming", "hanning", "identity", "indices"), NOT_OF_ARRAYS),
    **dict.fromkeys(("ones", "tri", "tril_indices", "triu_indices", "zeros", "ndim", "shape", "size"), NOT_OF_ARRAYS),
    "empty_like": "its elements are arbitrary",
    "from_dlpack": "takes arrays of other libraries",
    "may_share_memory": "arrays of a graph have no memory",
    "shares_memory": "arrays of a graph have no memory",
    "random": "a module, with tests of its own",
    **dict.fromkeys(("can_cast", "finfo", "iinfo", "min_scalar_type", "promote_types", "result_type"), NOT_OF_ARRAYS),
    **dict.fromkeys(("tril_indices_from", "triu_indices_from"), NOT_OF_ARRAYS),
}
NPX_EXEMPT = {
    **dict.fromkeys(("Device", "cpu", "cpu_pinned", "current_context", "current_device", "gpu"), NOT_OF_ARRAYS),
    **dict.fromkeys(
        ("gpu_memory_info", "is_np_array", "is_np_default_dtype", "is_np_shape", "num_gpus"), NOT_OF_ARRAYS
    ),
    **dict.fromkeys(("reset_np", "set_np", "seed", "waitall"), NOT_OF_ARRAYS),
    **dict.fromkeys(("load", "save", "savez"), "reads or writes files"),
    "random": "a module, with tests of its own",
    "set_np_default_dtype": NOT_OF_ARRAYS,
    **dict.fromkeys(("from_dlpack", "from_numpy", "to_dlpack_for_read", "to_dlpack_for_write"), "shares memory"),
    **dict.fromkeys((name for name in npx.__all__ if name.startswith("quantized_")), OF_INTEGERS),
    **dict.fromkeys(("contrib_quantize", "intgemm_fully_connected", "requantize"), OF_INTEGERS),
}
METHODS_EXEMPT = {
    **dict.fromkeys(("asnumpy", "asscalar", "item", "tolist", "wait_to_read", "wait_to_write"), VALUES),
    **dict.fromkeys(("context", "ctx", "device", "dtype", "grad", "itemsize", "nbytes", "ndim", "shape"), "a property"),
    **dict.fromkeys(("size", "stype"), "a property"),
    **dict.fromkeys(("as_in_context", "as_in_ctx", "to_device"), "needs a device; gives the array itself"),
    **dict.fromkeys(("attach_grad", "backward"), "nothing is differentiated"),
    **dict.fromkeys(("copyto", "fill"), "writes to memory, which arrays of a graph have not"),
    **dict.fromkeys(("slice_assign", "slice_assign_scalar"), "writes to memory, which arrays of a graph have not"),
    **dict.fromkeys(("to_dlpack_for_read", "to_dlpack_for_write", "writable"), "about memory"),
    **dict.fromkeys(("shape_array", "size_array"), "gives sizes, not elements"),
    "drop_grad": "nothing is differentiated",
}


def functions_of(module: Any) -> set[str]:
    return {n for n in module.__all__ if callable(getattr(module, n)) and not isinstance(getattr(module, n), type)}


def test_every_function_is_tried_or_exempt() -> None:
    assert functions_of(np) - EXEMPT.keys() == set(FUNCTIONS)
    assert functions_of(npx) - NPX_EXEMPT.keys() == set(NPX)
    assert set(np.linalg.__all__) == set(LINALG)
    assert {n for n in dir(np.ndarray) if not n.startswith("_")} - METHODS_EXEMPT.keys() == set(METHODS)


def flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in flat(part)]
    return [onp.asarray(value)]


def same(actual: Any, expected: Any) -> None:
    found, wanted = flat(actual), flat(expected)
    assert [a.shape for a in found] == [e.shape for e in wanted]
    assert [a.dtype for a in found] == [e.dtype for e in wanted]
    for a, e in zip(found, wanted, strict=True):
        onp.testing.assert_allclose(a, e, rtol=2e-6, atol=2e-6)


CASES = {
    f"{group}.{name}-{i}": forward
    for group, table in (
        *(("np", FUNCTIONS), ("npx", NPX), ("ndarray", METHODS), ("np.linalg", LINALG)),
        *(("index", {"": INDEXING}), ("numpy", {"": OFFICIAL})),
    )
    for name, forwards in table.items()
    for i, forward in enumerate(forwards)
}


@pytest.mark.parametrize("case", CASES)
def test_compiled_fused_and_exported_as_eager(case: str, tmp_path: Path) -> None:
    x, n = np.array(X), np.array(N)
    expected = Network(CASES[case])(x, n)
    compiled = Network(CASES[case])
    compiled.hybridize()
    same(compiled(x, n), expected)
    same(compiled(x[::-1].copy(), n[::-1].copy()), Network(CASES[case])(x[::-1].copy(), n[::-1].copy()))
    fused = Network(CASES[case])
    fused.optimize_for(x, n)
    same(fused(x, n), expected)
    symbol, params = fused.export(str(tmp_path / "net"))
    imported = SymbolBlock.imports(symbol, ["data0", "data1"], params)
    same(imported(x, n), flat(expected))


BY_DTYPE: dict[str, Forward] = {
    **{
        name: lambda x, y, name=name: getattr(np, name)(x)
        for name in (
            *("cumsum", "diff", "frexp", "i0", "median", "nanargmin", "nancumprod", "nanmedian"),
            *("sort", "spacing", "trim_zeros", "unique_all", "unwrap"),
        )
    },
    **{
        name: lambda x, y, name=name: getattr(np, name)(x[0], y[0])
        for name in (
            *("correlate", "heaviside", "in1d", "intersect1d", "linspace", "logaddexp", "polyadd", "polydiv"),
            *("polymul", "setxor1d", "union1d", "kron"),
        )
    },
    **{name: lambda x, y, name=name: getattr(np, name)(x[0] + 1) for name in ("poly", "polyint", "vander")},
    "lists": lambda x, y: [np.nansum([x, y]), np.trace([x[0], y[0]]), np.trim_zeros((x[0, 0], y[0, 0]))],
    "quantile": lambda x, y: np.quantile(x * 1.0, y[0] > 0),
    "dtype": lambda x, y: [np.cumsum(x, 0, "float64"), np.nancumsum(x, dtype="int32"), np.trace(y, dtype="float32")],
    "inv": lambda x, y: np.linalg.inv(np.dot(x.astype("float32"), x.T) + np.eye(3) * (y[0, 0] + 1)),
}


@pytest.mark.parametrize("dtypes", [("int32", "int32"), ("bool", "bool"), ("float16", "int8"), ("uint8", "float64")])
@pytest.mark.parametrize("name", BY_DTYPE)
def test_dtypes_are_those_of_eager_calls(name: str, dtypes: tuple[str, str]) -> None:
    arrays = [np.array(a, dtype=dtype) for a, dtype in zip((N, N[::-1]), dtypes, strict=True)]
    try:
        expected = Network(BY_DTYPE[name])(*arrays)
    except (TypeError, ValueError) as error:
        expected = type(error)
    net = Network(BY_DTYPE[name])
    net.hybridize()
    if isinstance(expected, type):
        with pytest.raises((TypeError, ValueError)):
            net(*arrays)
    else:
        same(net(*arrays), expected)


AROUND: dict[str, Callable[[Any], Any]] = {
    "unwrap": np.unwrap,
    "nanmedian": lambda y: np.nanmedian(y, axis=1, keepdims=True) + y,
    "svdvals": lambda y: np.linalg.svdvals(y) + y,
    "histogram": lambda y: y + np.histogram(y, 8)[0].astype("float32") / 8,
    "polyfit": lambda y: y * np.polyfit(np.arange(8), y.T, 0).T,
    "piecewise": lambda y: np.piecewise(y, [y > 0.5], [lambda v: v * 2, 1.0]),
    "trim_zeros": lambda y: y + np.trim_zeros(np.array([0, 1, 0])),
    "official": lambda y: onp.add.reduce(onp.sinc(y), axis=1, keepdims=True) + y,
}


@pytest.mark.parametrize("name", AROUND)
def test_networks_are_quantized_around(name: str) -> None:
    class Around(HybridBlock):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Dense(8, flatten=False, activation="relu")
            self.second = nn.Dense(8, flatten=False)

        def forward(self, x: Any) -> Any:
            return self.second(AROUND[name](self.first(x)))

    net = Around()
    net.initialize(init.Xavier())
    data = np.array(onp.random.default_rng(5).uniform(-1, 1, (8, 8)).astype(onp.float32))
    expected = net(data).asnumpy()
    actual = quantize_net(net, calib_data=data, calib_mode="naive")(data).asnumpy()
    assert onp.abs(actual - expected).max() < 0.1 * onp.abs(expected).max()
