"""Networks that are known by name."""

from __future__ import annotations

from minidnn.gluon.model_zoo import vision

__all__ = ["vision"]
