"""Gluon: networks as trees of blocks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from minidnn.gluon import data, metric, nn, rnn, utils
from minidnn.gluon.block import Block, HybridBlock, SymbolBlock
from minidnn.gluon.parameter import Constant, DeferredInitializationError, Parameter
from minidnn.gluon.parameter_dict import ParameterDict
from minidnn.missing import raising

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


def __getattr__(name: str) -> Any:
    # The zoo is large and most programs need one network of it or none.
    if name == "model_zoo":
        return import_module("minidnn.gluon.model_zoo")
    return raising(__name__)(name)
