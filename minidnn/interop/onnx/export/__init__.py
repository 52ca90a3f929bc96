"""Graphs of ours as ONNX models."""

from __future__ import annotations

from minidnn.process_safe import forget_modules

try:
    from minidnn.interop.onnx.export import attention, elementwise, layers, quantized, recurrent, shapes
    from minidnn.interop.onnx.export.graph import make_model
    from minidnn.interop.onnx.export.writer import EXPORT, ExportError
except BaseException:
    forget_modules(__name__)
    raise

__all__ = [
    "EXPORT",
    "ExportError",
    "attention",
    "elementwise",
    "layers",
    "make_model",
    "quantized",
    "recurrent",
    "shapes",
]
