"""What users and files claim, on its way into messages and arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["MAX_RANK", "html_table", "html_text", "is_possible", "printable", "shorten"]


def printable(text: str) -> str:
    """`text` without anything a terminal would obey."""
    return text if text.isprintable() else ascii(text)[1:-1]


def shorten(text: str, limit: int = 80) -> str:
    """A string of the file, fit for an error message."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")[1:-1]


def html_text(text: str) -> str:
    """`text` as a part of HTML."""
    from html import escape  # it takes longer than all of this module

    return escape(text)


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table as notebooks show it.

    Args:
        headings: of the columns.
        rows: the cells.
        numbers: places of the columns that hold numbers.
    """

    def line(tag: str, cells: Sequence[str]) -> str:
        sides = ("right" if i in numbers else "left" for i in range(len(cells)))
        shown = (
            f'<{tag} style="text-align: {side}">{html_text(printable(cell))}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(shown)}</tr>"

    return "\n".join(
        [
            "<table>",
            f"<thead>{line('th', headings)}</thead>",
            "<tbody>",
            *(line("td", r) for r in rows),
            "</tbody></table>",
        ]
    )


MAX_RANK = 32
_MAX_BYTES = 1 << 47


def is_possible(shape: Sequence[int], itemsize: int = 8) -> bool:
    """Whether NumPy can make an array of it: no negative sizes, no more dimensions and bytes than it counts.

    NumPy counts the bytes of an empty array as if its empty dimensions were 1 long.
    """
    sizes = [max(n, 1) for n in shape]
    return len(sizes) <= MAX_RANK and min(shape, default=0) >= 0 and math.prod(sizes) * itemsize <= _MAX_BYTES
