"""Models that other frameworks wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minidnn.interop.torch_names import torch_names

if TYPE_CHECKING:
    from minidnn.interop.torch_checkpoint import read_torch_checkpoint
    from minidnn.interop.torch_weights import load_torch
    from minidnn.interop.weights import load_weights

__all__ = [
    "from_torch",
    "load_torch",
    "load_weights",
    "read_torch_checkpoint",
    "register_torch_backend",
    "torch_backend",
    "torch_names",
]

# Those of `minidnn.pytorch`, which makes blocks and so stands above. `minidnn` has all names found here at first use.
from_torch: Callable[..., Any]
register_torch_backend: Callable[..., None]
torch_backend: Callable[..., Any]
