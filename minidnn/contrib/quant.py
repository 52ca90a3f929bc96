"""MXNet's other name for `minidnn.contrib.quantization`."""

from __future__ import annotations

from minidnn.contrib import quantization
from minidnn.contrib.quantization import *  # noqa: F403

__all__ = quantization.__all__
