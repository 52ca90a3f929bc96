"""The registry of operators, one module a family. Importing this package registers them all."""

from __future__ import annotations

from minidnn.ops import (
    activation,
    binary,
    convolution,
    dense,
    dynamic,
    elementwise,
    indexing,
    joining,
    normalization,
    pooling,
    quantization,
    random,
    reduction,
    shape,
    slicing,
)
from minidnn.ops.registry import Attr, Attrs, Op, TensorType, get_op, list_ops, register

__all__ = [
    "Attr",
    "Attrs",
    "Op",
    "TensorType",
    "activation",
    "binary",
    "convolution",
    "dense",
    "dynamic",
    "elementwise",
    "get_op",
    "indexing",
    "joining",
    "list_ops",
    "normalization",
    "pooling",
    "quantization",
    "random",
    "reduction",
    "register",
    "shape",
    "slicing",
]
