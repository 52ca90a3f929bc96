"""The rules: one module a kind of operator, a function an operator or several that are alike."""

from __future__ import annotations

from minidnn.interop.torch.rules import (
    attention,
    complex_numbers,
    convolution,
    creation,
    elementwise,
    images,
    indexing,
    linear,
    normalization,
    pooling,
    recurrent,
    reductions,
    shapes,
)

__all__ = [
    "attention",
    "complex_numbers",
    "convolution",
    "creation",
    "elementwise",
    "images",
    "indexing",
    "linear",
    "normalization",
    "pooling",
    "recurrent",
    "reductions",
    "shapes",
]
