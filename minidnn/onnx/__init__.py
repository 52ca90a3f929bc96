"""ONNX models as blocks: ``mx.onnx.import_model('net.onnx')``. It takes the package onnx: the extra ``onnx``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minidnn.missing import raising
from minidnn.onnx.block import OnnxBlock, get_model_metadata, import_model

__all__ = ["OnnxBlock", "get_model_metadata", "import_model"]


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
