"""Every elementwise operator of the registry with attributes and dtypes that it takes, and numbers to try it with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.errors import OpError
from minidnn.ops.registry import TensorType, get_op, list_ops

__all__ = ["DTYPES", "NARROW", "Case", "cases", "numbers"]

Array = np.ndarray[Any, Any]

NARROW = ("float32", "bool", "int8", "uint8", "int32", "int64")
DTYPES = (*NARROW, "int16", "uint16", "uint32", "uint64", "float16", "float64")

_ATTRS: dict[str, tuple[dict[str, Any], ...]] = {
    "activation": tuple({"act_type": t} for t in ("relu", "sigmoid", "log_sigmoid", "mish", "tanh", "softsign")),
    "leaky_relu": tuple({"act_type": t} for t in ("leaky", "elu", "selu", "gelu", "rrelu")),
    "clip": ({"a_min": -0.5, "a_max": 1.5}, {"a_min": 1.0}),
    "cast": tuple({"dtype": dtype} for dtype in DTYPES),
    "isclose": ({}, {"equal_nan": True}),
    "power_scalar": tuple({"scalar": s} for s in (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, -1.0, 2.5)),
}
_SCALARS = ({"scalar": 3.0}, {"scalar": -1.0}, {"scalar": 2.5})
_MIXED = (("int32", "float32"), ("uint8", "int8"), ("bool", "int64"), ("int64", "float16"))


@dataclass(frozen=True)
class Case:
    """One operation on inputs of these dtypes."""

    op: str
    attrs: tuple[tuple[str, Any], ...]
    dtypes: tuple[str, ...]

    def __str__(self) -> str:
        return "-".join([self.op, *(str(value) for _, value in self.attrs), *self.dtypes])


def _attributes(name: str) -> tuple[dict[str, Any], ...]:
    return _ATTRS.get(name, _SCALARS if name.endswith("_scalar") else ({},))


def _combinations(name: str, count: int) -> Iterator[tuple[str, ...]]:
    if name == "where":
        yield from (("bool", dtype, dtype) for dtype in DTYPES)
        yield ("float32", "int32", "float32")
        return
    yield from ((dtype,) * count for dtype in DTYPES)
    if count == 2:
        yield from _MIXED


def cases() -> list[Case]:
    """All that inference takes."""
    found = []
    for op in map(get_op, list_ops()):
        if op.kind != "elementwise" or op.is_random:
            continue
        for attrs in _attributes(op.name):
            made = op.make_attrs(attrs)
            for dtypes in _combinations(op.name, len(op.input_names(made))):
                try:
                    op.infer_types(made, [TensorType((2, 3), np.dtype(dtype)) for dtype in dtypes])
                except OpError:
                    continue
                found.append(Case(op.name, tuple(attrs.items()), dtypes))
    return found


def numbers(dtype: str, count: int, seed: int) -> Array:
    """The ends of the dtype's range, special values, and ordinary numbers."""
    rng, type = np.random.default_rng(seed), np.dtype(dtype)
    if type.kind == "b":
        return rng.integers(0, 2, count).astype(type)
    if type.kind == "f":
        values = rng.standard_normal(count) * 3
        values[:8] = rng.permutation([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5])
        return values.astype(type)
    info = np.iinfo(type)
    whole = rng.integers(max(info.min, -100), min(info.max, 100), count, dtype=type, endpoint=True)
    whole[:6] = rng.permutation(np.array([info.min, info.max, 0, 1, info.max // 2, 3], type))
    return whole
