"""Networks that are known by name."""

from __future__ import annotations

from minidnn.gluon.model_zoo import text, vision

__all__ = ["text", "vision"]
