"""Models in ONNX's format: read with the package onnx, and turned into graphs of ours by a table of rules."""

from __future__ import annotations

from minidnn.process_safe import forget_modules

try:
    from minidnn.interop.onnx.builder import FindValues, NeedsValuesError
    from minidnn.interop.onnx.convert import MAX_TRIPS, Conversion, Converted, check_operators
    from minidnn.interop.onnx.maker import UnsupportedNodeError
    from minidnn.interop.onnx.model import Model, ModelNode, Port
    from minidnn.interop.onnx.reader import import_onnx, read_model
    from minidnn.interop.onnx.values import Value
except BaseException:
    forget_modules(__name__)
    raise

__all__ = [
    "MAX_TRIPS",
    "Conversion",
    "Converted",
    "FindValues",
    "Model",
    "ModelNode",
    "NeedsValuesError",
    "Port",
    "UnsupportedNodeError",
    "Value",
    "check_operators",
    "import_onnx",
    "read_model",
]
