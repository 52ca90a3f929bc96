"""PyTorch's modules as blocks, and the backend ``minidnn`` of ``torch.compile``. It takes PyTorch: the extra ``torch``.

`minidnn.interop` has these names too.
"""

from __future__ import annotations

from minidnn.pytorch.backend import register_torch_backend, torch_backend
from minidnn.pytorch.block import TorchBlock, from_torch

__all__ = ["TorchBlock", "from_torch", "register_torch_backend", "torch_backend"]
