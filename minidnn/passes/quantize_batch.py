"""Which leading axes of a value have ranges of their own, where ranges are found at run time.

A sample with NaN, infinity or a huge number must not spoil its neighbours in the batch. So each sample has its range,
and where a product sums along the last axis alone each row; that is the more accurate rule, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from minidnn.ir.graph import Entry, Node

__all__ = ["SAMPLES", "find_batch_axes", "operand_axes"]

# Values of the attribute ``batch_axes``: the first axis; all but the last; all but the last two.
SAMPLES, _ROWS, _MATRICES = 1, -1, -2


def operand_axes(anchor: Node) -> tuple[int, ...]:
    """The finest ``batch_axes`` of each operand of a product: what is summed up has one scale."""
    if anchor.op_name == "batch_dot":
        return (_MATRICES if anchor.attrs.transpose_a else _ROWS), _MATRICES
    if anchor.op_name == "fully_connected" and not anchor.attrs.flatten:
        return (_ROWS,)
    return (SAMPLES,)


def find_batch_axes(readers: Iterable[tuple[Entry, int]], origins: Mapping[Entry, Sequence[Entry]]) -> dict[Entry, int]:
    """The attribute ``batch_axes`` of every value that is quantized: the finest that all its readers can use.

    Args:
        readers: int8 values, and the finest that a reader of it can use.
        origins: see `Marks`.
    """
    found: dict[Entry, int] = {}
    for entry, axes in readers:
        for origin in origins[entry]:
            # Axes may lie elsewhere when a value has been carried, but for the first.
            own = axes if origin == entry else SAMPLES
            known = found.get(origin, own)
            found[origin] = SAMPLES if SAMPLES in (own, known) else min(own, known)
    return found
