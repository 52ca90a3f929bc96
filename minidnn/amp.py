"""Automatic mixed precision, with the names of MXNet 2: products with weights in bfloat16.

`convert_hybrid_block` makes a network whose convolutions and dense layers have weights in bfloat16, half of the memory.
Data between layers, biases and sums stay float32. On a CPU that multiplies bfloat16 the data of such a layer is rounded
to it as well; so results are not equal to the bit from machine to machine, as those of int8 are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidnn.contrib.quantization.exclusions import find_excluded
from minidnn.contrib.quantization.network import FusedNetwork, fuse_block, fuse_symbol, make_block
from minidnn.device import Device, takes_ctx
from minidnn.errors import GraphError
from minidnn.gluon.block import HybridBlock, SymbolBlock
from minidnn.ir.graph import Graph, Node
from minidnn.missing import raising
from minidnn.numpy.multiarray import ndarray
from minidnn.ops.registry import Op, get_op, list_ops
from minidnn.passes import run_passes
from minidnn.passes.bfloat16_weights import bfloat16_weights
from minidnn.symbol.symbol import Symbol

__all__ = [
    "convert_hybrid_block",
    "convert_model",
    "init",
    "list_conditional_fp32_ops",
    "list_fp32_ops",
    "list_loss_output_functions",
    "list_lp16_fp32_ops",
    "list_lp16_ops",
    "list_lp16_use_fp32_params",
    "list_widest_type_cast",
]

_log = logging.getLogger(__name__)

_TARGET = "bfloat16"
# Of these, products by a known matrix.
_MATRIX_PRODUCTS = ("matmul", "dot")

# An operator, an attribute of it, and values of that with which it stays in float32.
Condition = tuple[str, str, Sequence[str]]


@takes_ctx
def convert_hybrid_block(
    block: HybridBlock,
    data_example: Any,
    target_dtype: Any = _TARGET,
    target_dtype_ops: Sequence[str] | None = None,
    fp32_ops: Sequence[str] | None = None,
    conditional_fp32_ops: Sequence[Condition] | None = None,
    excluded_sym_names: Sequence[str] | None = None,
    device: Device | None = None,
    cast_params_offline: bool = False,
) -> SymbolBlock:
    """A network with weights in bfloat16 of a float32 one, which stays as it is.

    Args:
        block: a `HybridBlock`, fused or not.
        data_example: an array, or a list or tuple of them: what the network is called with.
        target_dtype: ``bfloat16``, by its name or as the dtype of another package. ``float16`` is for GPUs.
        target_dtype_ops: operators whose weights become bfloat16, instead of `list_lp16_ops`; ours or MXNet's names. Of
            those that have no weights nothing changes.
        fp32_ops: operators that stay in float32 though they are in the list above.
        conditional_fp32_ops: triples of an operator, one of its attributes and a list of values, as strings, with which
            it stays in float32.
        excluded_sym_names: names of operations, fused or not, or of blocks, that stay in float32.
        device: a CPU; there is no other.
        cast_params_offline: weights are rounded now in any case.

    Raises:
        TypeError: `block` is no `HybridBlock`, the example no array, a list no list of names.
        ValueError: another target dtype; an operator or a layer that does not exist; an operator in two lists.
        OpError: the example does not fit the network, or a weight is beyond bfloat16; the message names the layer.

    Batch normalization behind a product is folded into it before rounding. Depthwise convolutions stay in float32; so
    does what has no weights, recurrent layers, embeddings and attention. A 3x3 convolution that is faster by Winograd's
    algorithm is computed so, in float32 with the rounded weights.
    """
    choice = _Choice(target_dtype, target_dtype_ops, fp32_ops, conditional_fp32_ops)
    if not isinstance(block, HybridBlock):
        raise TypeError(f"block must be a HybridBlock, got {type(block).__name__}")
    _check_device(device)
    arguments = tuple(data_example) if isinstance(data_example, (list, tuple)) else (data_example,)
    for given in arguments:
        if not isinstance(given, ndarray):
            raise TypeError(f"data_example must be an mx.np.ndarray, or a list of them, got {type(given).__name__}")
    network = fuse_block(block, arguments)
    graph, parameters = _convert(network, choice, excluded_sym_names)
    return make_block(Symbol(graph.outputs), network.inputs, parameters, network.structure)


def convert_model(
    sym: Symbol,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
    input_dtypes: Mapping[str, Any],
    target_dtype: Any = _TARGET,
    target_dtype_ops: Sequence[str] | None = None,
    fp32_ops: Sequence[str] | None = None,
    conditional_fp32_ops: Sequence[Condition] | None = None,
    excluded_sym_names: Sequence[str] | None = None,
    cast_params_offline: bool = False,
) -> tuple[Symbol, dict[str, ndarray], dict[str, ndarray]]:
    """A graph with weights in bfloat16 of a float32 one, and its parameters: uint16 with the bits of bfloat16.

    Args:
        sym: the graph, fused or not.
        arg_params: values of its parameters, by name.
        aux_params: values of running statistics, by name.
        input_dtypes: names of its inputs, and their dtypes.
        target_dtype, target_dtype_ops, fp32_ops, conditional_fp32_ops, excluded_sym_names, cast_params_offline: see
            `convert_hybrid_block`.

    Returns:
        The symbol, the values of its arguments, and those of its auxiliary states.

    Raises:
        See `convert_hybrid_block`; also GraphError: a variable is neither an input nor a parameter.
    """
    choice = _Choice(target_dtype, target_dtype_ops, fp32_ops, conditional_fp32_ops)
    if not isinstance(sym, Symbol):
        raise TypeError(f"sym must be a Symbol, got {type(sym).__name__}")
    for label, given in (("arg_params", arg_params), ("aux_params", aux_params), ("input_dtypes", input_dtypes)):
        if not isinstance(given, Mapping):
            raise TypeError(f"{label} must be a dict by name, got {type(given).__name__}")
    network = fuse_symbol(sym, {**arg_params, **aux_params}, list(input_dtypes), None)
    graph, values = _convert(network, choice, excluded_sym_names)
    symbol = Symbol(graph.outputs)
    arrays = {name: ndarray._wrap(np.array(value)) for name, value in values.items()}
    aux = {name: arrays.pop(name) for name in symbol.list_auxiliary_states()}
    return symbol, arrays, aux


def init(
    target_dtype: Any = "float16",
    target_precision_ops: Sequence[str] | None = None,
    conditional_fp32_ops: Sequence[Condition] | None = None,
    fp32_ops: Sequence[str] | None = None,
    layout_optimization: bool = False,
) -> None:
    """Check the arguments: nothing else is to be done here before `convert_hybrid_block`.

    In MXNet it replaces operators, so that networks that are made later train in the target dtype. For inference
    networks are converted one by one, and where a script calls `init` first it goes on unchanged. `layout_optimization`
    is what compiled networks do in any case.

    Raises:
        ValueError: another target dtype than ``bfloat16``; the default is MXNet's.
        TypeError, ValueError: see `convert_hybrid_block`.
    """
    _Choice(target_dtype, target_precision_ops, fp32_ops, conditional_fp32_ops)
    _log.info("amp.init: networks compute with weights in %s after amp.convert_hybrid_block", _TARGET)


def list_lp16_ops(target_dtype: Any) -> list[str]:
    """Operators whose weights become bfloat16 by default, by MXNet's names; of products the right matrix."""
    _check_target(target_dtype)
    return sorted(_mxnet_name(op) for op in _operators() if _can_round(op))


def list_fp32_ops(target_dtype: Any) -> list[str]:
    """All other operators: float32 goes in and comes out."""
    _check_target(target_dtype)
    return sorted(_mxnet_name(op) for op in _operators() if not _can_round(op))


def list_lp16_fp32_ops(target_dtype: Any) -> list[str]:
    """Operators that take either: none, since data between layers is float32."""
    _check_target(target_dtype)
    return []


def list_conditional_fp32_ops(target_dtype: Any) -> list[Condition]:
    """Operators that stay in float32 with some attributes: none by default."""
    _check_target(target_dtype)
    return []


def list_widest_type_cast(target_dtype: Any) -> list[str]:
    """Operators that take the widest dtype of their inputs: none, since data between layers is float32."""
    _check_target(target_dtype)
    return []


def list_loss_output_functions(target_dtype: Any) -> list[str]:
    """Losses: none, since there is no training."""
    _check_target(target_dtype)
    return []


def list_lp16_use_fp32_params(target_dtype: Any) -> dict[str, list[str]]:
    """Operators of `list_lp16_ops` by name, with the inputs that stay float32; the others are empty strings."""
    _check_target(target_dtype)
    found = {}
    for op in _operators():
        if op.anchor is not None and op.anchor.bfloat16:
            found[_mxnet_name(op)] = ["", "", "bias"]
    return found


class _Choice:
    """Which operations are converted, by the lists of operators."""

    def __init__(
        self,
        target_dtype: Any,
        target_dtype_ops: Sequence[str] | None,
        fp32_ops: Sequence[str] | None,
        conditional_fp32_ops: Sequence[Condition] | None,
    ) -> None:
        _check_target(target_dtype)
        chosen = _named("target_dtype_ops", list_lp16_ops(_TARGET) if target_dtype_ops is None else target_dtype_ops)
        floats = _named("fp32_ops", () if fp32_ops is None else fp32_ops)
        conditions = _conditions(conditional_fp32_ops)
        given = {"fp32_ops": set(floats), "conditional_fp32_ops": set(conditions)}
        if target_dtype_ops is not None:
            given["target_dtype_ops"] = set(chosen)
        labels = list(given)
        for i, first in enumerate(labels):
            for second in labels[i + 1 :]:
                if both := given[first] & given[second]:
                    raise ValueError(f"operators in {first} and in {second}: {sorted(both)}")
        self._operators = set(chosen) - set(floats)
        self._conditions = conditions

    def __call__(self, node: Node) -> bool:
        if node.op_name not in self._operators:
            return False
        conditions = self._conditions.get(node.op_name, {})
        return not any(str(node.attrs[name]) in values for name, values in conditions.items())


def _convert(
    network: FusedNetwork, choice: Callable[[Node], bool], excluded: Sequence[str] | None
) -> tuple[Graph, dict[str, np.ndarray[Any, Any]]]:
    """The graph, fused again, and the values of its parameters."""
    left = _excluded_names(network.symbol, excluded)
    graph, parameters = bfloat16_weights(
        network.symbol, network.parameters, lambda node: node.name not in left and choice(node)
    )
    return run_passes(graph), parameters


def _excluded_names(graph: Graph, excluded: Sequence[str] | None) -> Collection[str]:
    nodes = find_excluded(graph, excluded, None, None, "excluded_sym_names")
    return {inner.name for node in nodes for inner in (node, *(node.subgraph.operations() if node.subgraph else ()))}


def _operators() -> list[Op]:
    return [get_op(name) for name in list_ops()]


def _can_round(op: Op) -> bool:
    return op.name in _MATRIX_PRODUCTS or (op.anchor is not None and bool(op.anchor.bfloat16))


def _mxnet_name(op: Op) -> str:
    return op.mxnet[0] if op.mxnet else op.name


def _named(label: str, names: Any) -> list[str]:
    """Operators by our names.

    Raises:
        TypeError: it is no list of strings.
        ValueError: there is no such operator.
    """
    if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(n, str) for n in names):
        raise TypeError(f"{label} must be a list of names of operators, got {names!r}")
    found = []
    for name in names:
        try:
            found.append(get_op(name).name)
        except GraphError:
            raise ValueError(f"{label}: there is no operator {name!r}") from None
    return found


def _conditions(given: Any) -> dict[str, dict[str, set[str]]]:
    """Operator -> attribute -> values."""
    label = "conditional_fp32_ops"
    found: dict[str, dict[str, set[str]]] = {}
    if given is not None and (isinstance(given, str) or not isinstance(given, Collection)):
        raise TypeError(f"{label} must be a list of (operator, attribute, values), got {given!r}")
    for one in given or ():
        is_triple = isinstance(one, (tuple, list)) and len(one) == 3 and all(isinstance(text, str) for text in one[:2])
        if not is_triple or isinstance(one[2], str) or not all(isinstance(value, str) for value in one[2]):
            raise TypeError(f"{label} must be a list of (operator, attribute, list of strings), got {one!r}")
        (op,), attribute = _named(label, one[:1]), one[1]
        known = [attr.name for attr in get_op(op).attrs]
        if attribute not in known:
            raise ValueError(f"{label}: {one[0]} has no attribute {attribute!r}; it has {known}")
        found.setdefault(op, {}).setdefault(attribute, set()).update(one[2])
    return found


def _check_target(target_dtype: Any) -> None:
    """
    Raises:
        ValueError: it is not bfloat16.
    """
    if isinstance(target_dtype, str):
        name = target_dtype
    else:
        try:
            dtype = np.dtype(target_dtype)
            # MXNet's own has a field of that name.
            name = _TARGET if dtype.names == (_TARGET,) else dtype.name
        except (TypeError, ValueError):
            name = str(target_dtype).removeprefix("torch.")
    if name == _TARGET:
        return
    why = (
        "; float16 is for GPUs, CPUs sum it no faster than float32: 'bfloat16' takes as many bytes"
        if name == "float16"
        else ""
    )
    raise ValueError(f"target_dtype must be 'bfloat16', got {target_dtype!r}{why}")


def _check_device(device: Any) -> None:
    if device is not None and not isinstance(device, Device):
        raise TypeError(f"device must be a Device, got {device!r}")


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
