"""Symbols: graphs of operations that can be inspected, saved, rewritten and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidnn.missing import raising
from minidnn.symbol.symbol import Group, Symbol, Variable, fromjson, load, load_json, var

__all__ = ["Group", "Symbol", "Variable", "fromjson", "load", "load_json", "var"]


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
