"""The rules: one module a kind of operator, a function an operator or several that are alike."""

from __future__ import annotations

from minidnn.interop.onnx.rules import (
    control,
    convolution,
    elementwise,
    features,
    gathering,
    images,
    linear,
    microsoft,
    microsoft_attention,
    normalization,
    pooling,
    quantized,
    random,
    recurrent,
    reductions,
    shapes,
    signals,
    slicing,
    trees,
)

__all__ = [
    "control",
    "convolution",
    "elementwise",
    "features",
    "gathering",
    "images",
    "linear",
    "microsoft",
    "microsoft_attention",
    "normalization",
    "pooling",
    "quantized",
    "random",
    "recurrent",
    "reductions",
    "shapes",
    "signals",
    "slicing",
    "trees",
]
