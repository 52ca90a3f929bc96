"""Beside the core, under MXNet's name for it: quantization."""

from __future__ import annotations

from minidnn.contrib import quant, quantization

__all__ = ["quant", "quantization"]
