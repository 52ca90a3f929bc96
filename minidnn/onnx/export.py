"""Writing networks as ONNX models: ``mx.onnx.export_model(net, 'out.onnx')``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minidnn import serialization
from minidnn.errors import GraphError
from minidnn.gluon._block import Block
from minidnn.gluon._hybrid_block import HybridBlock
from minidnn.interop.onnx import import_onnx
from minidnn.interop.onnx.export import EXPORT, make_model
from minidnn.ir.axes import symbolic_types
from minidnn.ir.graph import Graph
from minidnn.ir.infer import hinted_type, with_types
from minidnn.numpy.multiarray import ndarray
from minidnn.onnx.block import load_package
from minidnn.ops.registry import TensorType, get_op, list_ops
from minidnn.sizes import Decisions, Size, example_of
from minidnn.symbol.symbol import Symbol, load

__all__ = ["export_model", "get_operator_support"]

# What a file of Protocol Buffers may have at most.
_MOST_BYTES = (1 << 31) - 1


def get_operator_support(opset_version: int | None = None) -> list[str]:
    """Names of our operators that `export_model` writes; of those made of others, as far as ONNX has these."""
    composed = {name for name in list_ops() if get_op(name).decomposition or get_op(name).expansion}
    return sorted({*EXPORT, *composed})


def export_model(
    sym: Any,
    params: Any = None,
    in_shapes: Sequence[Sequence[int]] | None = None,
    in_types: Any = np.float32,
    onnx_file_path: str | os.PathLike[str] = "model.onnx",
    verbose: bool = False,
    dynamic: bool = False,
    dynamic_input_shapes: Sequence[Sequence[Any]] | None = None,
    run_shape_inference: bool = False,
    input_type: Any = None,
    input_shape: Any = None,
    large_model: bool = False,
) -> str:
    """Write a network as an ONNX model.

    ``export_model(net, 'out.onnx')`` takes a block that has been called once while hybridized, or one that was made of
    a graph; sizes of its inputs that can be any are named dimensions of the model. All other arguments are MXNet 2's,
    for a symbol and its parameters. A quantized network is written with ``QuantizeLinear`` and ``DequantizeLinear``.

    Args:
        sym: a block; or a `Symbol`, or the file of one.
        params: for a block, the file to write; for a symbol, its parameters by name, with ``arg:`` and ``aux:`` in
            front or without, or the file of them.
        in_shapes: for a symbol, the shapes of its inputs, in order.
        in_types: the dtype of the inputs, or one for each.
        onnx_file_path: the file to write.
        verbose: no effect.
        dynamic: whether sizes may be any: with `dynamic_input_shapes` those that are names or None there, else all that
            can be.
        dynamic_input_shapes: shapes with names, or None, for sizes that may be any.
        run_shape_inference: whether the model says the shapes of all its values.
        input_type, input_shape: older names of `in_types` and `in_shapes`.
        large_model: whether parameters are written to files of their own beside the model.

    Returns:
        The path of the model.

    Raises:
        GraphError: an operator cannot be written; the message names layer and operator. Or there is no graph.
        ImportError: the package onnx is not installed.
        OSError: a file cannot be read or written.
        TypeError, ValueError: arguments do not fit.
    """
    load_package()
    if isinstance(sym, Block):
        path = Path(onnx_file_path if params is None else _want_path(params))
        graph, types, arrays = _of_block(sym)
    else:
        path = Path(onnx_file_path)
        shapes = in_shapes if in_shapes is not None else input_shape
        dtypes = in_types if input_type is None else input_type
        graph, types, arrays = _of_symbol(sym, params, shapes, dtypes, dynamic, dynamic_input_shapes)
    model = make_model(graph, types, arrays, path.stem)
    _save(model, path, run_shape_inference, large_model)
    return str(path)


def _want_path(path: Any) -> Any:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"of a block, the file to write is wanted: export_model(net, 'out.onnx'), got {type(path).__name__}"
        )
    return path


def _of_block(net: Block) -> tuple[Graph, dict[str, TensorType], dict[str, np.ndarray[Any, Any]]]:
    """The graph of a block, the types of its inputs and the values of its parameters."""
    if not isinstance(net, HybridBlock):
        raise TypeError(f"a HybridBlock is wanted, which has a graph, got {type(net).__name__}")
    made = net._latest_graph().without_writes()
    graph = Graph(made.symbol.outputs)
    variables = {v.name: v for v in (*made.symbol.variables(), *graph.variables())}
    types = {}
    for name in made.inputs:
        type_ = hinted_type(variables[name]) if name in variables else None
        if type_ is None:
            raise GraphError(f"{type(net).__name__}: nothing is known of input {name!r}; call the network once before")
        types[name] = type_
    return graph, types, {name: array.asnumpy() for name, array in made.arrays().items()}


def _of_symbol(
    sym: Any, params: Any, shapes: Any, dtypes: Any, dynamic: bool, dynamic_shapes: Any
) -> tuple[Graph, dict[str, TensorType], dict[str, np.ndarray[Any, Any]]]:
    symbol = load(sym) if isinstance(sym, (str, os.PathLike)) else sym
    if not isinstance(symbol, Symbol):
        raise TypeError(f"a block, a Symbol or the file of one is wanted, got {type(sym).__name__}")
    arrays = _arrays(params)
    names = [name for name in symbol.list_inputs() if name not in arrays]
    if shapes is None:
        raise ValueError(f"in_shapes must be given: a shape for each of the inputs {names}")
    if len(shapes) != len(names):
        raise ValueError(f"in_shapes must have {len(names)} shapes, for the inputs {names}, got {len(shapes)}")
    listed = list(dtypes) if isinstance(dtypes, (list, tuple)) else [dtypes] * len(names)
    if len(listed) != len(names):
        raise ValueError(f"in_types must be one dtype, or {len(names)}, for the inputs {names}, got {len(listed)}")
    given = {
        name: TensorType(tuple(int(n) for n in shape), np.dtype(dtype))
        for name, shape, dtype in zip(names, shapes, listed, strict=True)
    }
    if dynamic or dynamic_shapes is not None:
        given = _with_symbols(given, dynamic_shapes)
    graph = Graph(with_types(symbol, given).outputs)
    return graph, given, arrays


def _with_symbols(given: Mapping[str, TensorType], wanted: Any) -> dict[str, TensorType]:
    """The types with symbols for sizes that may be any."""
    if wanted is None:
        return symbolic_types(given, Decisions())
    if len(wanted) != len(given):
        raise ValueError(f"dynamic_input_shapes must have {len(given)} shapes, got {len(wanted)}")
    result = {}
    for number, ((name, type_), shape) in enumerate(zip(given.items(), wanted, strict=True)):
        if len(shape) != type_.ndim:
            raise ValueError(f"dynamic_input_shapes: {name!r} has {type_.ndim} dimensions, got {tuple(shape)}")
        sizes = [
            int(n) if isinstance(n, (int, np.integer)) else Size.symbol(str(n or f"dim{number}_{axis}"), example_of(m))
            for axis, (n, m) in enumerate(zip(shape, type_.shape, strict=True))
        ]
        result[name] = TensorType(tuple(sizes), type_.dtype)
    return result


def _arrays(params: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Parameters by name, without MXNet's prefixes."""
    if params is None:
        return {}
    if isinstance(params, (str, os.PathLike)):
        params = serialization.load(Path(params))
    merged: dict[str, Any] = {}
    for part in params if isinstance(params, (list, tuple)) else [params]:
        if not isinstance(part, Mapping):
            raise TypeError(f"params must be arrays by name, or the file of them, got {type(part).__name__}")
        merged.update(part)
    return {
        name.removeprefix("arg:").removeprefix("aux:"): a.asnumpy() if isinstance(a, ndarray) else np.asarray(a)
        for name, a in merged.items()
    }


def _save(model: Any, path: Path, run_shape_inference: bool, large_model: bool) -> None:
    onnx = import_onnx()
    if run_shape_inference:
        from onnx import shape_inference

        model = shape_inference.infer_shapes(model)
    if large_model or model.ByteSize() > _MOST_BYTES:
        onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data")
    else:
        onnx.save_model(model, path)
