"""Plain values in JSON: literals as text and back, checks of what came, and hints between double underscores."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidnn.errors import DataError, GraphError
from minidnn.ir.graph import Node
from minidnn.sizes import RELATIONS, Guard, Size, SizedText, example_of, has_sizes, parse_sizes
from minidnn.untrusted import MAX_RANK, is_possible

__all__ = [
    "field",
    "format_literal",
    "format_text",
    "hints_to_strings",
    "is_hint",
    "is_text",
    "parse_literal",
    "read_hints",
    "read_symbols",
    "shown",
    "sized",
    "want",
]

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


# For MXNet's trainer.
_NUMBERS = frozenset({"lr_mult", "wd_mult"})

# mshadow's type codes, which MXNet writes as a variable's __dtype__.
_DTYPE_OF_CODE = dict(enumerate(("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")))
_CODE_OF_DTYPE = {name: code for code, name in _DTYPE_OF_CODE.items()}


def hints_to_strings(node: Node) -> dict[str, str]:
    """The hints of a node as the strings of its JSON; those of a fused node are attributes like any other."""
    bare = node.subgraph is not None
    hints = dict(node.hints)
    if has_sizes(hints.get("shape")):
        hints["example"] = example_of(hints["shape"])
    return {key if bare else f"__{key}__": _hint_to_string(key, value) for key, value in hints.items()}


def _hint_to_string(key: str, value: Any) -> str:
    if key == "dtype":
        name: str = np.dtype(value).name
        return str(_CODE_OF_DTYPE.get(name, name))
    if key == "guards":
        return format_literal(tuple((repr(g.left), g.relation, repr(g.right), g.outcome, g.line) for g in value))
    return repr(value) if has_sizes(value) else format_text(value)


def is_hint(key: str) -> bool:
    return len(key) > 4 and key.startswith("__") and key.endswith("__")


def read_symbols(strings: Mapping[str, str], where: str) -> dict[str, Size]:
    """The symbols that a variable's hint ``shape`` brings, with their examples.

    Args:
        strings: texts of the variable's hints.
        where: what to call the node in an error.

    Raises:
        DataError: there is not one example for each dimension.
    """
    names = re.fullmatch(r"\(([\w, -]*)\)", strings.get("shape", ""))
    parts = [part.strip() for part in names[1].split(",") if part.strip()] if names else []
    if not any(map(str.isidentifier, parts)):
        return {}
    example = parse_literal(strings.get("example", ""))
    is_shape = isinstance(example, tuple) and all(type(n) is int and 0 <= n < 1 << 63 for n in example)
    want(is_shape and len(example) == len(parts), f"{where}: '__example__' must be a shape like '__shape__'", example)
    return {n: Size.symbol(n, size) for n, size in zip(parts, example, strict=True) if n.isidentifier()}


def sized(text: str, symbols: Mapping[str, Size]) -> str:
    """The text; one that speaks of symbols with the value it stands for."""
    if not symbols.keys().isdisjoint(re.findall(r"\w+", text)):
        try:
            found = SizedText(text)
            found.value = parse_sizes(text, symbols)
        except ValueError:
            return text
        return found if has_sizes(found.value) else text
    return text


def _read_guards(rows: Any, symbols: Mapping[str, Size], where: str) -> tuple[Guard, ...]:
    guards = []
    for row in rows if isinstance(rows, tuple) else (rows,):
        kinds = [type(part) for part in row] if isinstance(row, tuple) else []
        want(kinds == [str, str, str, bool, str] and row[1] in RELATIONS, f"{where} must be decisions on sizes", row)
        try:
            left, right = parse_sizes(row[0], symbols), parse_sizes(row[2], symbols)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
        guards.append(Guard(left, row[1], right, row[3], row[4]))
    return tuple(guards)


def read_hints(strings: Mapping[str, str], where: str, symbols: Mapping[str, Size] | None = None) -> dict[str, Any]:
    """The hints of a node by their names without underscores.

    Args:
        strings: their texts.
        symbols: sizes that are known by name.
        where: what to call the node in an error.

    Raises:
        DataError: a text is not of the kind it must be.
    """
    hints = {key: parse_literal(text) for key, text in strings.items()}
    if symbols and "shape" in hints:
        found = sized(strings["shape"], symbols)
        if isinstance(found, SizedText):
            hints["shape"] = found.value
            del hints["example"]
    if "guards" in hints:
        hints["guards"] = _read_guards(hints["guards"], symbols or {}, f"{where}: '__guards__'")
    if "shape" in hints:
        _check_shape(hints["shape"], strings["shape"], f"{where}: '__shape__'")
    if "dtype" in hints:
        hints["dtype"] = _read_dtype(hints["dtype"], strings["dtype"], f"{where}: '__dtype__'")
    if hints.get("init") is not None:
        kind = "the name of an initializer, or its JSON"
        want(type(hints["init"]) is str, f"{where}: '__init__' must be {kind}", strings["init"])
    for key in sorted(_NUMBERS & hints.keys()):
        is_number = hints[key] is None or type(hints[key]) in (int, float, bool)
        want(is_number, f"{where}: '__{key}__' must be a number", strings[key])
    return hints


def _check_shape(shape: Any, text: str, where: str) -> None:
    if shape is None:
        return
    is_shape = isinstance(shape, tuple) and len(shape) <= MAX_RANK
    is_shape = is_shape and all(
        n is None or (type(n) is int and abs(n) < 1 << 63) or isinstance(n, Size) for n in shape
    )
    want(is_shape, f"{where} must be a tuple of integers", text)
    shape = example_of(shape)
    want(is_possible([max(n or 0, 0) for n in shape]), f"{where} must be a possible shape", text)


def _read_dtype(code: Any, text: str, where: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(_DTYPE_OF_CODE[code] if type(code) is int else text)
    except (KeyError, TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in "biufc":
        raise DataError(f"{where} must be a dtype, got {shown(text)}")
    return dtype
