"""The three kinds of blocks, under MXNet's module name."""

from __future__ import annotations

from minidnn.gluon._block import Block
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.gluon._symbol_block import SymbolBlock

__all__ = ["Block", "HybridBlock", "SymbolBlock"]
