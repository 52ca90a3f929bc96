"""Dropout, which inference passes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidnn.dispatch import invoke
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon.nn._op import make_attrs

__all__ = ["Dropout"]


class Dropout(HybridBlock):
    """Gives its input: elements are dropped in training only.

    Args:
        rate: share of elements that training would drop, in [0, 1].
        axes: axes along which they would be dropped together.

    Raises:
        ValueError: `rate` is not in [0, 1].
    """

    def __init__(self, rate: float, axes: Sequence[int] = ()) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"Dropout: rate must be in [0, 1], got {rate}")
        super().__init__()
        self._attrs = make_attrs("Dropout", "dropout", p=rate, axes=tuple(axes))

    def forward(self, x: Any) -> Any:
        return invoke("dropout", x, **self._attrs) if self._attrs.p > 0 else x

    def __repr__(self) -> str:
        return f"{type(self).__name__}(p = {self._attrs.p}, axes={self._attrs.axes})"
