"""MXNet 1's names for reading and writing ONNX models; see `minidnn.onnx`."""

from __future__ import annotations

from typing import Any

from minidnn.device import takes_ctx
from minidnn.gluon.parameter import Devices
from minidnn.numpy.multiarray import ndarray
from minidnn.onnx import OnnxBlock, export_model, get_model_metadata
from minidnn.onnx import import_model as import_block
from minidnn.symbol.symbol import Symbol

__all__ = ["export_model", "get_model_metadata", "import_model", "import_to_gluon"]


def import_model(model_file: Any) -> tuple[Symbol, dict[str, ndarray], dict[str, ndarray]]:
    """The graph of a model and the values of its parameters.

    Args:
        model_file: see `minidnn.onnx.import_model`.

    Returns:
        The symbol, the values of its arguments but for the inputs, and those of its auxiliary states.

    Raises:
        GraphError: the graph depends on the values of inputs; `minidnn.onnx.import_model` reads such models too.
        See `minidnn.onnx.import_model`.
    """
    graph = import_block(model_file)._own_graph()
    auxiliary = set(graph.symbol.list_auxiliary_states())
    arrays = {name: array.copy() for name, array in graph.arrays().items()}
    arguments = {name: array for name, array in arrays.items() if name not in auxiliary}
    return graph.symbol, arguments, {name: arrays[name] for name in auxiliary}


@takes_ctx
def import_to_gluon(model_file: Any, device: Devices = None) -> OnnxBlock:
    """A model as a block; see `minidnn.onnx.import_model`.

    Args:
        model_file: see there.
        device: a CPU; there is no other.
    """
    return import_block(model_file)
