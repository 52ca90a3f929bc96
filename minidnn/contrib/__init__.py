"""Beside the core, under MXNet's name for it: quantization."""

from __future__ import annotations

from minidnn.contrib import quantization

__all__ = ["quantization"]
