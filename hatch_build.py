"""A build of the package compiles the loops to LLVM IR: the first network on a machine need not wait for Numba."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LoopsBuildHook(BuildHookInterface[Any]):
    """Writes them into the tree, from where they get into the wheel; without Numba their first use compiles them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        sys.path[:0] = [str(root), str(root / "kernels")]
        try:
            from minidnn.runtime.ready_loops import write_loops

            write_loops()
        except ImportError as error:
            self.app.display_warning(f"loops are not compiled ahead: {error}")
