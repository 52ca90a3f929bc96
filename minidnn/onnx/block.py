"""Reading an ONNX model as a block."""

from __future__ import annotations

from typing import Any

from minidnn.interop.onnx import (
    MAX_TRIPS,
    Conversion,
    FindValues,
    Model,
    check_operators,
    import_onnx,
    read_model,
)
from minidnn.onnx.model_block import ModelBlock
from minidnn.process_safe import uninterrupted
from minidnn_kernels.fork_lock import FORK_LOCK

__all__ = ["OnnxBlock", "get_model_metadata", "import_model", "load_package"]


def import_model(source: Any, max_trips: int = MAX_TRIPS) -> OnnxBlock:
    """A network from an ONNX model.

    Args:
        source: a path, the bytes of a file, a file object that is open for reading bytes, or an ``onnx.ModelProto``.
        max_trips: how many rounds of a ``Loop`` or a ``Scan`` are written out at most.

    Returns:
        A `SymbolBlock` that takes the model's inputs in their order, and gives its output, or a list of several. Its
        parameters have the names of the model's constants.

    Raises:
        DataError: the file or a tensor in it is damaged.
        GraphError: the graph is malformed, or an operator or one of its attributes is not supported; the message names
            file, node, operator and attribute.
        ImportError: the package onnx is not installed.
        OSError: a file cannot be read.
        TypeError: `source` is something else.
    """
    if type(max_trips) is not int or max_trips < 1:
        raise ValueError(f"max_trips must be a number from 1 on, got {max_trips!r}")
    load_package()
    return OnnxBlock(read_model(source), max_trips)


def load_package() -> None:
    """Import the package onnx.

    Raises:
        ImportError: it is not installed.
    """
    uninterrupted(_load_package)


def _load_package() -> None:
    with FORK_LOCK:
        import_onnx()


def get_model_metadata(source: Any) -> dict[str, Any]:
    """What a model takes and gives, and the texts that it carries.

    Args:
        source: see `import_model`.

    Returns:
        ``input_tensor_data`` and ``output_tensor_data``, lists of names and shapes, in which sizes that are not fixed
        are names or None; and ``metadata``, texts by name.

    Raises:
        See `import_model`.
    """
    load_package()
    model = read_model(source)
    described = {
        "input_tensor_data": [(port.name, port.shape) for port in model.inputs],
        "output_tensor_data": [(port.name, port.shape) for port in model.graph.outputs],
    }
    return {**described, "metadata": dict(model.metadata)}


class OnnxBlock(ModelBlock):
    """A block that computes an ONNX model; see `import_model`.

    Args:
        model: the model.
        max_trips: rounds of loops that are written out.

    Raises:
        GraphError: an operator or an attribute is not supported.
    """

    def __init__(self, model: Model, max_trips: int = MAX_TRIPS) -> None:
        super().__init__(model)
        self._onnx, self._max_trips = model, max_trips
        check_operators(model)
        self._guess()

    def _conversion(self, find_values: FindValues | None) -> Conversion:
        return Conversion(self._onnx, find_values, self._max_trips)
