"""`Block.summary`: a table of the layers, their output shapes and their parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidnn.gluon.calls import run_observed
from minidnn.numpy.multiarray import ndarray

__all__ = ["print_summary"]

_ROW = "{:>20}  {:>42} {:>15}"


def print_summary(block: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    """Run `block` once, op by op, and print one row for each layer that was called, in the order of their ends."""
    rows = [("Input", _shapes(inputs if len(inputs) > 1 else inputs[0]), 0)]
    seen: set[int] = set()
    total = trainable = shared = 0

    def note(layer: Any, output: Any) -> None:
        nonlocal total, trainable, shared
        if layer._only_calls_children:
            return
        count = 0
        for parameter in layer.params.values():
            size = parameter.concrete().size
            count += size
            trainable += size if parameter.grad_req != "null" else 0
            shared += size if id(parameter) in seen else 0
            seen.add(id(parameter))
        total += count
        rows.append((f"{type(layer).__name__}-{len(rows)}", _shapes(output), count))

    run_observed(note, block, *inputs)
    thin, thick = "-" * 80, "=" * 80
    lines = [thin, _ROW.format("Layer (type)", "Output Shape", "Param #"), thick]
    lines += [_ROW.format(*row) for row in rows]
    lines += [
        thick,
        "Parameters in forward computation graph, duplicate included",
        f"   Total params: {total}",
        f"   Trainable params: {trainable}",
        f"   Non-trainable params: {total - trainable}",
        f"Shared params in forward computation graph: {shared}",
        f"Unique parameters in model: {total - shared}",
        thin,
    ]
    print("\n".join(lines))


def _shapes(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_shapes(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shapes(v)}" for key, v in value.items())
    return str(value.shape) if isinstance(value, ndarray) else str(value)
