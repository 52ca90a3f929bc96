"""Gluon: networks as trees of blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidnn.deferred import defer
from minidnn.gluon import nn, utils
from minidnn.gluon.block import Block, HybridBlock, SymbolBlock
from minidnn.gluon.parameter import Constant, DeferredInitializationError, Parameter
from minidnn.gluon.parameter_dict import ParameterDict

if TYPE_CHECKING:
    from minidnn.gluon import data, metric, model_zoo, rnn

__all__ = [
    "Block",
    "Constant",
    "DeferredInitializationError",
    "HybridBlock",
    "Parameter",
    "ParameterDict",
    "SymbolBlock",
    "data",
    "metric",
    "model_zoo",
    "nn",
    "rnn",
    "utils",
]

# A network needs none of these, unless it is recurrent or of the zoo.
defer(__name__, {name: f"{__name__}.{name}" for name in ("data", "metric", "model_zoo", "rnn")})
