"""Models that other frameworks wrote."""

from __future__ import annotations

from minidnn.interop.torch_checkpoint import read_torch_checkpoint
from minidnn.interop.torch_names import torch_names
from minidnn.interop.torch_weights import load_torch
from minidnn.interop.weights import load_weights

__all__ = ["load_torch", "load_weights", "read_torch_checkpoint", "torch_names"]
