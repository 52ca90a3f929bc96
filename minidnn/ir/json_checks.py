"""Checks of what a JSON text holds, each with the error that says what came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidnn.errors import DataError

__all__ = ["field", "is_text", "shown", "want"]


def is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def field(row: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in row:
        raise DataError(f"{where}: {key!r} is missing")
    want(isinstance(row[key], kind), f"{where}: {key!r} must be a {kind.__name__}", row[key])
    return row[key]


def want(holds: bool, wanted: str, got: Any) -> None:
    if not holds:
        raise DataError(f"{wanted}, got {shown(got)}")


def shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__} of {len(value)}"
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."
