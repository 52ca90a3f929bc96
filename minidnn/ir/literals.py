"""Plain Python values as text and back, exactly: None, bool, int, float, str and tuples of them."""

from __future__ import annotations

import ast
import math
from typing import Any

from minidnn.errors import GraphError

__all__ = ["format_literal", "format_text", "parse_literal"]

_Plain = (bool, int, float, str, type(None))


def format_literal(value: Any) -> str:
    """The text that reads as `value`.

    Raises:
        GraphError: NaN, for which there is no literal, or another type.
    """
    if isinstance(value, tuple):
        inside = ", ".join(map(format_literal, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, float) and not math.isfinite(value):
        if math.isnan(value):
            raise GraphError("NaN cannot be written as an attribute")
        # A literal has no infinity, but a number too large to be finite reads as one.
        return "1e999" if value > 0 else "-1e999"
    if isinstance(value, _Plain):
        return repr(value)
    raise GraphError(f"a {type(value).__name__} cannot be written as an attribute: {value!r}")


def parse_literal(text: str) -> Any:
    """The value that `text` spells; `text` itself where it spells none."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value if _is_plain(value) else text


def format_text(value: Any) -> str:
    """Like `format_literal`, but a string that spells nothing else stands without quotes."""
    if isinstance(value, str) and parse_literal(value) is value:
        return value
    return format_literal(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, _Plain)
