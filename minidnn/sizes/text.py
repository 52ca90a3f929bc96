"""Sizes as text and back: what files say."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from minidnn.sizes.size import MAX_EXPONENT, Size, by_example
from minidnn.sizes.values import example_of

__all__ = ["SizedText", "parse_sizes"]


class SizedText(str):
    """A text of a file that speaks of sizes, and the value it stands for."""

    __slots__ = ("value",)
    value: Any


# A bound on what a file can make of one text.
_MAX_TEXT = 10_000
_MAX_DEPTH = 50

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def parse_sizes(text: str, symbols: Mapping[str, Size]) -> Any:
    """The value that a text spells: numbers, symbols, arithmetic of them, None, bools, and tuples.

    Args:
        text: as `repr` writes it.
        symbols: the sizes that names stand for.

    Raises:
        ValueError: it is not of that form.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"a text of {len(text)} characters")
    try:
        return by_example(_evaluated, ast.parse(text, mode="eval").body, symbols, 0)
    except (SyntaxError, RecursionError, MemoryError, ArithmeticError, TypeError) as error:
        raise ValueError(str(error)) from None


def _evaluated(node: ast.expr, symbols: Mapping[str, Size], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(node, ast.Tuple):
        return tuple(_evaluated(item, symbols, depth + 1) for item in node.elts)
    if isinstance(node, ast.Name) and node.id in symbols:
        return symbols[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, type(None))):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluated(node.operand, symbols, depth + 1)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = (_evaluated(side, symbols, depth + 1) for side in (node.left, node.right))
        if isinstance(node.op, ast.Pow) and abs(example_of(right)) > MAX_EXPONENT:
            raise ValueError("a power that is too large")
        return _BINARY[type(node.op)](left, right)
    raise ValueError(f"{ast.unparse(node)[:80]!r} is no size")
