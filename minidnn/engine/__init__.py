"""The one door between what users hold (blocks, arrays, symbols) and what runs (lowering, runtime).

Everything that reaches a kernel passes here, and is checked here: dtype, shape and memory of every array.
"""

from minidnn.engine.eager import contiguous, run_op
from minidnn.engine.inspection import check_settings, info, recording
from minidnn.engine.networks import CompiledGraph, Network, compile_graph
from minidnn.plan.program import PlanStep
from minidnn.runtime.counters import COUNTERS
from minidnn.runtime.memory import Arenas
from minidnn.runtime.profile import Profile
from minidnn.runtime.threads import get_num_threads, set_num_threads, start_threads

__all__ = [
    "COUNTERS",
    "Arenas",
    "CompiledGraph",
    "Network",
    "PlanStep",
    "Profile",
    "check_settings",
    "compile_graph",
    "contiguous",
    "get_num_threads",
    "info",
    "recording",
    "run_op",
    "set_num_threads",
    "start_threads",
]
