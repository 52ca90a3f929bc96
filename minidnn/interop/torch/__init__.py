"""Graphs of PyTorch, turned into graphs of ours by a table of rules."""

from __future__ import annotations

from minidnn.interop.torch.convert import TorchConversion, check_model
from minidnn.interop.torch.program import TorchModel, import_torch, read_program

__all__ = ["TorchConversion", "TorchModel", "check_model", "import_torch", "read_program"]
