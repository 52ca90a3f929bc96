"""Symbols: graphs of operations that can be inspected, saved, rewritten and run."""

from __future__ import annotations

from minidnn.symbol.symbol import Group, Symbol, Variable, fromjson, load, load_json, var

__all__ = ["Group", "Symbol", "Variable", "fromjson", "load", "load_json", "var"]
