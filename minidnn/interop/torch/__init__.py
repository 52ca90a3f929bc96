"""Graphs of PyTorch, turned into graphs of ours by a table of rules."""

from __future__ import annotations

from minidnn.process_safe import forget_modules

try:
    from minidnn.interop.torch.convert import TorchConversion, check_model
    from minidnn.interop.torch.program import (
        TorchModel,
        decompositions,
        import_torch,
        is_preserved,
        operator_of,
        read_graph,
        read_program,
    )
    from minidnn.interop.torch.support import why_unsupported
except BaseException:
    forget_modules(__name__)
    raise

__all__ = [
    "TorchConversion",
    "TorchModel",
    "check_model",
    "decompositions",
    "import_torch",
    "is_preserved",
    "operator_of",
    "read_graph",
    "read_program",
    "why_unsupported",
]
