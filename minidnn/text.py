"""Text that comes from users and files, on its way to a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """`text` without anything a terminal would obey."""
    return text if text.isprintable() else ascii(text)[1:-1]
