"""ONNX models as blocks, and networks as ONNX models: `import_model`, `export_model`.

It takes the package onnx: the extra ``onnx``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidnn.missing import raising
from minidnn.onnx.block import OnnxBlock, get_model_metadata, import_model
from minidnn.onnx.export import export_model, get_operator_support

__all__ = ["OnnxBlock", "export_model", "get_model_metadata", "get_operator_support", "import_model"]


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
