"""MXNet's products around a softmax: of interleaved projections, and of sliding windows (Beltagy et al., 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import ShapeError
from minidnn.ops.checks import want_dtype, want_filled, want_float, want_integer, want_min_rank, want_rank, want_shape
from minidnn.ops.composed import Operand, expansion_of
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, register

__all__ = ["INTERLEAVED"]

Array = np.ndarray[Any, Any]

# Of what each operator reads: how many projections lie side by side in each head of an input.
INTERLEAVED = {
    "interleaved_matmul_selfatt_qk": (3,),
    "interleaved_matmul_selfatt_valatt": (3,),
    "interleaved_matmul_encdec_qk": (1, 2),
    "interleaved_matmul_encdec_valatt": (2,),
}


def _want_projections(op: str, name: str, t: TensorType, heads: int, count: int) -> int:
    """(time, batch, heads * count * size) it must be; gives the size."""
    want_rank(op, name, t, 3, "(time, batch, features)")
    want_filled(op, name, t, [2])
    if t.shape[2] % (heads * count):
        raise ShapeError(f"{op}: the features of {name} must be a multiple of {count} x heads={heads}, got {t}")
    return int(t.shape[2]) // (heads * count)


def _split(x: Array, heads: int, count: int) -> list[Array]:
    """Projections [batch * heads, time, size] of (time, batch, heads * count * size)."""
    time, batch, features = x.shape
    parts = x.reshape(time, batch, heads, count, features // (heads * count)).transpose(3, 1, 2, 0, 4)
    return [part.reshape(batch * heads, time, part.shape[-1]).astype(np.float64) for part in parts]


def _infer_qk(op: str) -> Callable[[Attrs, Sequence[TensorType]], list[TensorType]]:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        names = _INPUTS[op]
        sizes = []
        for name, t, count in zip(names, types, INTERLEAVED[op], strict=True):
            want_float(op, name, t)
            want_dtype(op, name, t, types[0].dtype, names[0])
            sizes.append(_want_projections(op, name, t, attrs.heads, count))
        if types[0].shape[1] != types[-1].shape[1] or sizes[0] != sizes[-1]:
            raise ShapeError(
                f"{op}: {names[0]} and {names[-1]} must have one batch and size, got {types[0]}, {types[-1]}"
            )
        query, key = types[0].shape, types[-1].shape
        return [TensorType((query[1] * attrs.heads, query[0], key[0]), types[0].dtype)]

    return infer


def _qk(op: str) -> Callable[..., Array]:
    def reference(attrs: Attrs, *arrays: Array) -> Array:
        counts = INTERLEAVED[op]
        parts = [part for x, count in zip(arrays, counts, strict=True) for part in _split(x, attrs.heads, count)]
        return np.asarray(parts[0] / math.sqrt(parts[0].shape[-1]) @ parts[1].swapaxes(1, 2))

    return reference


def _infer_valatt(op: str) -> Callable[[Attrs, Sequence[TensorType]], list[TensorType]]:
    def infer(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
        projections, attention = types
        name, count = _INPUTS[op][0], INTERLEAVED[op][0]
        want_float(op, name, projections)
        want_dtype(op, "attention", attention, projections.dtype, name)
        size = _want_projections(op, name, projections, attrs.heads, count)
        want_rank(op, "attention", attention, 3, "(batch * heads, queries, keys)")
        time, batch, _ = projections.shape
        queries = attention.shape[1]
        want_shape(op, "attention", attention, (batch * attrs.heads, queries, time), f"of {name} {projections.shape}")
        return [TensorType((queries, batch, attrs.heads * size), projections.dtype)]

    return infer


def _valatt(op: str) -> Callable[..., Array]:
    def reference(attrs: Attrs, projections: Array, attention: Array) -> Array:
        values = _split(projections, attrs.heads, INTERLEAVED[op][0])[-1]
        out = attention.astype(np.float64) @ values
        batch, size = projections.shape[1], values.shape[-1]
        queries = attention.shape[1]
        return out.reshape(batch, attrs.heads, queries, size).transpose(2, 0, 1, 3).reshape(queries, batch, -1)

    return reference


def _compose_split(x: Operand, heads: int, count: int) -> list[Operand]:
    """`_split`."""
    time, batch, features = x.shape
    size = features // (heads * count)
    parts = x.reshape(time, batch, heads, count, size).transpose(3, 1, 2, 0, 4)
    return [parts.cut(0, i, i + 1).reshape(batch * heads, time, size) for i in range(count)]


def _compose_qk(op: str) -> Callable[..., Operand]:
    def compose(attrs: Attrs, *operands: Operand) -> Operand:
        counts = INTERLEAVED[op]
        parts = [p for x, n in zip(operands, counts, strict=True) for p in _compose_split(x, attrs.heads, n)]
        query = parts[0] * (1 / math.sqrt(parts[0].shape[-1]))
        return query.apply("batch_dot", parts[1], transpose_b=True)

    return compose


def _compose_valatt(op: str) -> Callable[..., Operand]:
    def compose(attrs: Attrs, projections: Operand, attention: Operand) -> Operand:
        values = _compose_split(projections, attrs.heads, INTERLEAVED[op][0])[-1]
        batch, queries, size = projections.shape[1], attention.shape[1], values.shape[-1]
        rows = attention.apply("batch_dot", values).reshape(batch, attrs.heads, queries, size)
        return rows.transpose(2, 0, 1, 3).reshape(queries, batch, attrs.heads * size)

    return compose


_INPUTS = {
    "interleaved_matmul_selfatt_qk": ("queries_keys_values",),
    "interleaved_matmul_selfatt_valatt": ("queries_keys_values", "attention"),
    "interleaved_matmul_encdec_qk": ("queries", "keys_values"),
    "interleaved_matmul_encdec_valatt": ("keys_values", "attention"),
}

for _name, _inputs in _INPUTS.items():
    _is_qk = _name.endswith("_qk")
    register(
        Op(
            _name,
            (_infer_qk if _is_qk else _infer_valatt)(_name),
            (_qk if _is_qk else _valatt)(_name),
            _inputs,
            attrs=(Attr("heads", "int", low=1),),
            mxnet=(f"_contrib_{_name}", f"_npx_{_name}"),
            expansion=expansion_of((_compose_qk if _is_qk else _compose_valatt)(_name)),
        )
    )


def _infer_div_sqrt_dim(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    want_min_rank("div_sqrt_dim", "data", types[0], 1)
    want_float("div_sqrt_dim", "data", types[0])
    return [types[0]]


register(
    Op(
        "div_sqrt_dim",
        _infer_div_sqrt_dim,
        lambda attrs, x: x.astype(np.float64) / math.sqrt(max(1, x.shape[-1])),
        ("data",),
        mxnet=("_contrib_div_sqrt_dim", "_npx_div_sqrt_dim"),
        expansion=expansion_of(lambda attrs, x: x / math.sqrt(max(1, x.shape[-1]))),
    )
)


def _places(attrs: Attrs, dilation: Array, time: int) -> Array:
    """Which key element j of a window stands for, [time, heads, window]; it may lie outside."""
    offsets = np.arange(-attrs.w, attrs.w + 1 if attrs.symmetric else 1)
    return np.asarray(np.arange(time)[:, None, None] + dilation.astype(np.int64)[:, None] * offsets)


def _window(attrs: Attrs) -> int:
    return int(2 * attrs.w + 1 if attrs.symmetric else attrs.w + 1)


def _want_window(op: str, attrs: Attrs, score: TensorType, dilation: TensorType) -> None:
    want_rank(op, "score", score, 4, "(batch, time, heads, window)")
    want_float(op, "score", score)
    want_integer(op, "dilation", dilation)
    want_shape(op, "dilation", dilation, (score.shape[2],), "one for each head")
    want_shape(op, "score", score, (*score.shape[:3], _window(attrs)), f"w={attrs.w}, symmetric={attrs.symmetric}")


def _infer_window_score(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (query, key, dilation) = "sldwin_atten_score", types
    want_rank(op, "query", query, 4, "(batch, time, heads, size)")
    want_float(op, "query", query)
    want_dtype(op, "key", key, query.dtype, "query")
    want_shape(op, "key", key, query.shape, "as query")
    score = TensorType((*query.shape[:3], _window(attrs)), query.dtype)
    _want_window(op, attrs, score, dilation)
    return [score]


def _gathered(attrs: Attrs, x: Array, dilation: Array) -> Array:
    """The elements of each window, [batch, time, heads, window, size]; zeros outside."""
    batch, time, heads, size = x.shape
    places = _places(attrs, dilation, time)
    outside = np.concatenate([x.astype(np.float64), np.zeros((batch, 1, heads, size))], axis=1)
    found: Array = outside[:, np.where((places >= 0) & (places < time), places, time), np.arange(heads)[:, None]]
    return found


def _window_score(attrs: Attrs, query: Array, key: Array, dilation: Array) -> Array:
    gathered = _gathered(attrs, key, dilation)
    return np.asarray(np.einsum("bthc,bthwc->bthw", query.astype(np.float64), gathered))


def _infer_window_mask(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (score, dilation, valid) = "sldwin_atten_mask_like", types
    _want_window(op, attrs, score, dilation)
    want_shape(op, "valid_length", valid, score.shape[:1], "one for each sequence")
    return [score]


def _window_mask(attrs: Attrs, score: Array, dilation: Array, valid: Array) -> Array:
    time = score.shape[1]
    places = _places(attrs, dilation, time)
    limit = valid.reshape(-1, 1, 1, 1)
    return (places >= 0) & (places < limit) & (np.arange(time)[:, None, None] < limit)


def _infer_window_context(attrs: Attrs, types: Sequence[TensorType]) -> list[TensorType]:
    op, (score, value, dilation) = "sldwin_atten_context", types
    _want_window(op, attrs, score, dilation)
    want_rank(op, "value", value, 4, "(batch, time, heads, size)")
    want_dtype(op, "value", value, score.dtype, "score")
    want_shape(op, "value", value, (*score.shape[:3], value.shape[3]), "as score")
    return [value]


def _window_context(attrs: Attrs, score: Array, value: Array, dilation: Array) -> Array:
    gathered = _gathered(attrs, value, dilation)
    return np.asarray(np.einsum("bthw,bthwc->bthc", score.astype(np.float64), gathered))


# Scores of so many queries by all keys exist at a time, for all heads together.
_MOST_SCORES = 1 << 23


def _heads_first(x: Operand) -> Operand:
    return x.transpose(0, 2, 1, 3)


def _window_places(attrs: Attrs, x: Operand, dilation: Operand) -> Operand:
    """`_places`, [heads, time, window], of inputs that begin with (batch, time, heads)."""
    _, time, heads = x.shape[:3]
    offsets = x.count(_window(attrs)).apply("subtract_scalar", scalar=attrs.w, is_int=True)
    steps = dilation.cast("int64").reshape(heads, 1, 1).apply("multiply", offsets)
    return x.count(time).reshape(time, 1).apply("add", steps)


def _is_before(places: Operand, stop: Operand | int) -> Operand:
    """Whether 0 <= places < stop."""
    below = places.apply("less", stop) if isinstance(stop, Operand) else places.apply("less_scalar", scalar=stop)
    return places.apply("greater_equal_scalar", scalar=0).apply("logical_and", below)


def _blocks(x: Operand) -> list[tuple[int, int]]:
    """Ranges of queries."""
    batch, time, heads = (int(n) for n in x.shape[:3])
    rows = max(1, _MOST_SCORES // max(1, batch * heads * time))
    return [(first, min(first + rows, time)) for first in range(0, time, rows)]


def _spread_over(x: Operand, places: Operand, first: int, stop: int) -> tuple[Operand, Operand]:
    """Of some queries, [batch, heads, queries, window]: where their windows lie among the keys, and whether they do."""
    batch, time, heads = x.shape[:3]
    some = places.cut(1, first, stop)
    shape = (batch, heads, stop - first, some.shape[2])
    index = some.apply("clip", a_min=0, a_max=time - 1).apply("broadcast_to", shape=shape)
    return index, _is_before(some, time)


def _compose_window_score(attrs: Attrs, query: Operand, key: Operand, dilation: Operand) -> Operand:
    """A band of the products of all queries by all keys, which cost less than bringing keys together."""
    places = _window_places(attrs, query, dilation)
    rows, keys = _heads_first(query), _heads_first(key)
    made = []
    for first, stop in _blocks(query):
        index, inside = _spread_over(query, places, first, stop)
        scores = rows.cut(2, first, stop).apply("batch_dot", keys, transpose_b=True)
        found = scores.apply("take_along_axis", index, axis=-1)
        made.append(inside.apply("where", found, found.full(0)))
    return _heads_first(_joined(made))


def _joined(parts: Sequence[Operand]) -> Operand:
    return parts[0].join(*parts[1:], axis=2) if len(parts) > 1 else parts[0]


def _compose_window_mask(attrs: Attrs, score: Operand, dilation: Operand, valid: Operand) -> Operand:
    batch, time = score.shape[:2]
    places = _window_places(attrs, score, dilation).transpose(1, 0, 2)
    limit = valid.cast("int64").reshape(batch, 1, 1, 1)
    rows = score.count(time).reshape(time, 1, 1).apply("less", limit)
    return _is_before(places, limit).apply("logical_and", rows).cast(score.type.dtype)


def _compose_window_context(attrs: Attrs, score: Operand, value: Operand, dilation: Operand) -> Operand:
    places = _window_places(attrs, score, dilation)
    rows, values = _heads_first(score), _heads_first(value)
    batch, time, heads = score.shape[:3]
    made = []
    for first, stop in _blocks(score):
        index, inside = _spread_over(score, places, first, stop)
        some = rows.cut(2, first, stop)
        weights = inside.apply("where", some, some.full(0))
        empty = score.make("full", shape=(batch, heads, stop - first, time), value=0, dtype=score.type.dtype)
        # Keys outside of the sequence, where they are clipped, add nothing.
        whole = empty.apply("scatter_elements", index, weights, axis=3, reduction="add")
        made.append(whole.apply("batch_dot", values))
    return _heads_first(_joined(made))


_WINDOWS: dict[str, tuple[Any, Any, Any, tuple[str, ...]]] = {
    "sldwin_atten_score": (_infer_window_score, _window_score, _compose_window_score, ("query", "key", "dilation")),
    "sldwin_atten_mask_like": (
        _infer_window_mask,
        _window_mask,
        _compose_window_mask,
        ("score", "dilation", "valid_length"),
    ),
    "sldwin_atten_context": (
        _infer_window_context,
        _window_context,
        _compose_window_context,
        ("score", "value", "dilation"),
    ),
}
for _name, (_infer, _reference, _compose, _inputs) in _WINDOWS.items():
    register(
        Op(
            _name,
            _infer,
            _reference,
            _inputs,
            attrs=(Attr("w", "int", low=0), Attr("symmetric", "bool", True)),
            mxnet=(f"_npx_{_name}",),
            expansion=expansion_of(_compose),
        )
    )
