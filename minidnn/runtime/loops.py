"""The loops, and their compilation by Numba in a process of its own.

Numba takes half a second and some 100 MB to import, and only the very first program on a machine needs it, where no
build of the package has compiled the loops (`ready_loops`): afterwards they come from the code cache. So a short-lived
child process compiles them, and the process that runs networks stays small. Where no child can be started, this
process compiles them itself.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence

from minidnn.child_interpreter import child_command, child_environment, has_interpreter
from minidnn_kernels.fork_lock import FORK_LOCK
from minidnn_kernels.host import host_arch

__all__ = ["LOOPS", "compile_here", "compile_loops"]

# name: the module it stands in
LOOPS = {
    "run_loop": "minidnn.runtime.driver",
    "help_loop": "minidnn.runtime.driver",
    "attention_loop": "minidnn_kernels.attention_loop",
    "matmul_loop": "minidnn_kernels.loops",
    "elementwise_loop": "minidnn_kernels.loops",
    "copy_loop": "minidnn_kernels.loops",
    "extrema_loop": "minidnn_kernels.loops",
    "depthwise_loop": "minidnn_kernels.loops",
    "pool_loop": "minidnn_kernels.loops",
    "global_pool_loop": "minidnn_kernels.loops",
    "gather_loop": "minidnn_kernels.move_loops",
    "offsets_loop": "minidnn_kernels.move_loops",
    "scatter_loop": "minidnn_kernels.move_loops",
    "panels_loop": "minidnn_kernels.move_loops",
    "resample_loop": "minidnn_kernels.blend_loops",
    **dict.fromkeys(("grid_sample_loop", "deform_loop"), "minidnn_kernels.sampling_loops"),
    **dict.fromkeys(("roi_align_loop", "max_roi_pool_loop"), "minidnn_kernels.region_loops"),
    **dict.fromkeys(("sort_loop", "search_loop", "cumulate_loop", "one_hot_loop"), "minidnn_kernels.order_loops"),
    **dict.fromkeys(
        ("box_rows_loop", "match_loop", "suppression_loop", "suppressed_loop"), "minidnn_kernels.box_loops"
    ),
    **dict.fromkeys(("reduce_loop", "pool_places_loop"), "minidnn_kernels.reduce_loop"),
    "scales_loop": "minidnn_kernels.loops",
    "recurrent_loop": "minidnn_kernels.recurrent_loop",
    "rows_loop": "minidnn_kernels.loops",
    "tree_loop": "minidnn_kernels.tree_loop",
    "transposed_loop": "minidnn_kernels.transposed_loop",
    "winograd_loop": "minidnn_kernels.loops",
}

_SECONDS = 300


def compile_loops(names: Sequence[str], arch: str | None = None) -> dict[str, str]:
    """LLVM IR of each loop, by name, for that architecture, by default this machine's.

    Raises:
        RuntimeError: a loop is not one that kernels can be made of.
    """
    arch = arch or host_arch()
    return _compile_in_child(names, arch) or compile_here(names, arch)


def compile_here(names: Sequence[str], arch: str) -> dict[str, str]:
    """LLVM IR of each loop, by name, made in this process, which imports Numba."""
    with FORK_LOCK:
        from minidnn_kernels.numba_loops import loop_ir  # deferred: it loads Numba

        functions = {name: getattr(importlib.import_module(LOOPS[name]), name) for name in names}
        return {name: loop_ir(function, name, arch=arch) for name, function in functions.items()}


def _compile_in_child(names: Sequence[str], arch: str) -> dict[str, str] | None:
    """The same from a child process; None where that is not possible."""
    if not has_interpreter():
        return None
    command = child_command(["-W", "ignore", "-m", __name__, arch, *names])
    try:
        done = subprocess.run(
            command,
            env=child_environment(),
            capture_output=True,
            timeout=_SECONDS,
            check=True,
            start_new_session=True,  # Ctrl-C in a terminal is for the program, not for what it waits for
        )
        compiled = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return compiled if isinstance(compiled, dict) and compiled.keys() == set(names) else None


if __name__ == "__main__":
    json.dump(compile_here(sys.argv[2:], sys.argv[1]), sys.stdout)
