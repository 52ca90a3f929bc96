"""A network as quantization sees it: the fused float32 graph, its inputs, its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.contrib.quantization.data import Batch
from minidnn.errors import GraphError, OpError
from minidnn.gluon.block import HybridBlock, SymbolBlock
from minidnn.gluon.structure import Spec
from minidnn.numpy.base import as_native
from minidnn.numpy.multiarray import ndarray
from minidnn.passes import fold_constants
from minidnn.symbol.symbol import Symbol, var

__all__ = ["FusedNetwork", "fuse_block", "fuse_symbol", "input_names", "make_block"]

Array = np.ndarray[Any, Any]

_BACKEND = "MINIDNN"


@dataclass(frozen=True)
class FusedNetwork:
    """A float32 graph after the fusion passes.

    Args:
        symbol: the graph.
        inputs: names of its inputs, in order.
        parameters: values of all other variables, by name; arrays of the network itself, not copies.
        structure: how the block's arguments and what it gives are nested; None for a symbol.
    """

    symbol: Symbol
    inputs: tuple[str, ...]
    parameters: Mapping[str, Array]
    structure: tuple[Spec, Spec] | None = None


def fuse_block(network: HybridBlock, arguments: tuple[Any, ...] | None) -> FusedNetwork:
    """The network for inputs like these; its own state stays as it is.

    Args:
        network: initialized, or to be initialized with the first batch.
        arguments: of the shapes it is to run on; None takes those it has run on last.

    Raises:
        ValueError: there are no inputs, and it has not run as a compiled program.
        OpError: the inputs do not fit; the message names the layer.
    """
    if arguments is None:
        try:
            graph = network._latest_graph()
            spec = network._latest_inputs()
        except RuntimeError:
            raise ValueError(
                "the shapes of the inputs are not known: give data_shapes or calib_data, "
                "or run the hybridized network once before"
            ) from None
    else:
        arrays, spec = network._flatten_inputs(arguments)
        try:
            with network._build_lock.here:
                graph = network._trace_graph(arrays, spec).without_writes()
        except OpError as error:
            raise network._explained(error, arguments) from None
    values = graph.arrays()
    symbol = graph.symbol.optimize_for(_BACKEND, args=values)
    parameters = {name: np.asarray(array) for name, array in values.items()}
    return _without_constants(symbol, graph.inputs, parameters, (spec, graph.output))


def fuse_symbol(
    symbol: Symbol, parameters: Mapping[str, Any], inputs: Sequence[str], batch: Batch | None
) -> FusedNetwork:
    """The graph with parameters, for inputs like `batch`.

    Raises:
        GraphError: an input is not in the graph, or a variable is neither input nor parameter.
    """
    names = symbol.list_inputs()
    for name in inputs:
        if name not in names:
            raise GraphError(f"there is no input {name!r}; the symbol has {names}")
    missing = [name for name in names if name not in parameters and name not in inputs]
    if missing:
        raise GraphError(f"variable {missing[0]!r} is neither among the data names {list(inputs)} nor a parameter")
    arrays = {name: np.asarray(parameters[name]) for name in names if name not in inputs}
    given = {} if batch is None else dict(zip(inputs, batch.arrays, strict=False))
    fused = symbol.optimize_for(
        _BACKEND,
        args=arrays,
        aux=arrays,
        shape_dict={name: a.shape for name, a in given.items()},
        type_dict={name: a.dtype for name, a in given.items()},
    )
    return _without_constants(fused, tuple(inputs), arrays)


def _without_constants(
    symbol: Symbol,
    inputs: tuple[str, ...],
    parameters: Mapping[str, Array],
    structure: tuple[Spec, Spec] | None = None,
) -> FusedNetwork:
    """The network with a parameter wherever something is computed from parameters alone: a weight to quantize."""
    folded, values = fold_constants(symbol, parameters)
    return FusedNetwork(Symbol(folded.outputs), inputs, values, structure)


def input_names(network: HybridBlock, count: int | None = None) -> list[str]:
    """The names of the arguments of a call: the first `count`, or those without a default, at least one.

    Of ``*args`` alone there are as many as in the latest run, one if there was none.
    """
    if isinstance(network, SymbolBlock):
        return network._argument_names()
    parameters = network._signature().parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if count is None and not named and network._latest_program is not None:
        count = len(network._latest_inputs().children)
    if count is None:
        count = max(sum(p.default is p.empty for p in named), 1)
    names = [p.name for p in named][:count]
    # Further arguments of ``*args`` have no names.
    return names + [f"*{i}" for i in range(len(names), count)]


def make_block(
    symbol: Symbol,
    inputs: Sequence[str],
    parameters: Mapping[str, Array | ndarray],
    structure: tuple[Spec, Spec] | None = None,
) -> SymbolBlock:
    """The graph as a block that runs; parameters that it has not are left out."""
    used = set(symbol.list_inputs())
    values = {name: _wrapped(array) for name, array in parameters.items() if name in used}
    block = SymbolBlock(symbol, [var(name) for name in inputs], values)
    if structure is not None:
        block._set_structure(*structure)
    return block


def _wrapped(array: Array | ndarray) -> ndarray:
    """An array of ours of the same dtype, float64 as well."""
    return array if isinstance(array, ndarray) else ndarray._wrap(as_native(array))
