"""Running Python programs in processes of their own, and a small network for them to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minidnn.engine import CompiledGraph, compile_graph
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops.registry import TensorType
from minidnn.runtime.threads import pool

Array = np.ndarray[Any, Any]


def force_threads(count: int) -> None:
    """Use that many threads, more than there are cores too: what tests look for are races."""
    pool._threads = count


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with `changes`, and its import path."""
    here = str(Path(__file__).parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path]), **changes}


def python(program: str, timeout: float = 120, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a program with this interpreter.

    Warnings are errors there too, but for the one that a process with threads should not fork.
    """
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**changes), timeout=timeout)


def network(size: int = 40) -> tuple[CompiledGraph, Array, Array]:
    """Two convolutions large enough to be shared by threads, an input, and what comes of it."""
    rng = np.random.default_rng(0)
    made = make_variable("x")
    parameters = {}
    for i, (channels, filters) in enumerate(((8, 32), (32, 16))):
        parameters[f"w{i}"] = rng.standard_normal((filters, channels, 3, 3)).astype(np.float32)
        attrs = {"kernel": (3, 3), "pad": (1, 1), "num_filter": filters, "no_bias": True}
        made = make_node("convolution", f"convolution{i}", [made, make_variable(f"w{i}")], attrs)[0]
        made = make_node("relu", f"relu{i}", [made])[0]
    x = rng.standard_normal((1, 8, size, size)).astype(np.float32)
    compiled = compile_graph(Graph([made]), parameters, {"x": TensorType.of(x)})
    return compiled, x, compiled([x])[0].copy()
