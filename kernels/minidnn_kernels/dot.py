"""The inner step of a matmul: how a row of A meets a vector of B's columns, for each type and instruction set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidnn_kernels.isa import Isa
from minidnn_kernels.split_dot import SplitDot
from minidnn_kernels.uniform_dot import Dot, Float32, Int16, Maddwd, Sdot, Vnni, Widen

__all__ = ["DOTS", "Dot", "SplitDot", "best_dot", "dot_for"]

Array = np.ndarray[Any, Any]

DOTS: dict[str, Callable[[bool], Dot]] = {
    "vnni": Vnni,
    "sdot": Sdot,
    "split": SplitDot,
    "maddwd": Maddwd,
    "widen": Widen,
}


def dot_for(isa: Isa, data: str, name: str = "") -> Dot:
    """The dot for A of type ``f32`` (B too), ``s16`` (B too; x86 only), or ``s8`` or ``u8`` (B is int8) on that ISA.

    `name` is a row of `DOTS` for 8 bits; by default the ISA's own.
    """
    if data == "f32":
        return Float32()
    return Int16() if data == "s16" else DOTS[name or isa.dot](data == "s8")


def best_dot(isa: Isa, data: str, weights: Array) -> str:
    """The row of `DOTS` that is fastest for int8 weights [groups, taps, depth, columns] and A ``s8`` or ``u8``.

    Empty where that is the ISA's own.
    """
    return "maddwd" if isa.dot == "split" and not SplitDot(data == "s8").pays(weights, isa.lanes) else ""
