"""Beside the core, under MXNet's name for it: quantization, and ONNX by MXNet 1's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidnn.contrib import onnx, quant, quantization
from minidnn.missing import raising

__all__ = ["onnx", "quant", "quantization"]


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
