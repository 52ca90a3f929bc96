"""`mx.np`: arrays with NumPy's interface."""

from __future__ import annotations

from minidnn.numpy.multiarray import ndarray

__all__ = ["ndarray"]
