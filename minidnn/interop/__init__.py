"""Models that other frameworks wrote."""

from __future__ import annotations

from minidnn.interop.torch_checkpoint import read_torch_checkpoint

__all__ = ["read_torch_checkpoint"]
