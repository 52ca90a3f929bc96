"""States to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minidnn.device import cpu

__all__ = ["make_states"]


def make_states(info: Sequence[Mapping[str, Any]], func: Callable[..., Any], given: Mapping[str, Any]) -> list[Any]:
    """One array for each state, made by ``func(shape=..., device=..., dtype=...)``; `given` goes before `info`."""
    return [
        func(shape=said["shape"], device=said.get("device") or cpu(), dtype=said.get("dtype", "float32"))
        for said in ({**one, **given} for one in info)
    ]
