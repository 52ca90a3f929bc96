"""Run as a program: what is too large for any machine, each in a forked process with little memory.

Prints for each, as JSON: the exit status of its process, the kind of exception it ended with, and the message.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.engine import compile_graph
from minidnn.ir.graph import Graph, make_node, make_variable
from minidnn.ops.registry import TensorType

_BYTES = 4 << 30


def _run(op: str, *shapes: tuple[int, ...], weight: tuple[int, ...] = (), **attrs: Any) -> None:
    """Compile an operator for inputs of these shapes, and run it on zeros."""
    inputs = {f"x{i}": TensorType(shape, np.dtype(np.float32)) for i, shape in enumerate(shapes)}
    names = [*inputs, *(["w"] if weight else [])]
    node = make_node(op, op, [make_variable(name) for name in names], attrs)
    parameters = {"w": np.zeros(weight, np.float32)} if weight else {}
    run = compile_graph(Graph([node[0]]), parameters, inputs)
    run([np.zeros(t.shape, t.dtype) for t in inputs.values()])


def _convolve(shape: tuple[int, ...], kernel: tuple[int, ...] = (3, 3), groups: int = 1, **attrs: Any) -> None:
    weight = (8, shape[1] // groups, *kernel)
    attrs = {"kernel": kernel, "num_filter": 8, "num_group": groups, "no_bias": True, **attrs}
    _run("convolution", shape, weight=weight, **attrs)


CASES: dict[str, Callable[[], object]] = {
    "large image": lambda: _convolve((1, 3, 2**20, 2**20)),
    "image beyond 64 bits": lambda: _convolve((1, 3, 2**31, 2**31)),
    "as many pixels as 32 bits number": lambda: _convolve((1, 1, 2**16, 2**15), (1, 1)),
    "more pixels than 32 bits number": lambda: _convolve((1, 1, 2**16, 2**16), (1, 1)),
    "large batch": lambda: _convolve((2**40, 3, 8, 8)),
    "large depthwise convolution": lambda: _convolve((1, 8, 2**16, 2**15), groups=8),
    "padding beyond 64 bits": lambda: _convolve((1, 1, 8), (1,), pad=(2**70,)),
    "dilation beyond 64 bits": lambda: _convolve((1, 1, 8), (2,), pad=(2**62,), dilate=(2**63,)),
    "relu of terabytes": lambda: _run("relu", (2**40,)),
    "relu beyond 64 bits": lambda: _run("relu", (2**62, 4)),
    "broadcast sum": lambda: _run("add", (2**24, 1), (1, 2**24)),
    "outer product": lambda: _run("batch_dot", (1, 2**24, 1), (1, 1, 2**24)),
    "large pool": lambda: _run("pooling", (1, 1, 2**20, 2**20), kernel=(2, 2), pool_type="max"),
    "taps beyond 64 bits": lambda: _run("pooling", (1, 1, 8, 8), kernel=(2**33,) * 2, pad=(2**32,) * 2),
    "softmax of terabytes": lambda: _run("softmax", (2**40,)),
    "transpose of terabytes": lambda: _run("transpose", (2**20, 2**20)),
    "broadcast to terabytes": lambda: _run("broadcast_to", (1,), shape=(2**45,)),
    "concatenated terabytes": lambda: _run("concatenate", (2**40,), (2**40,), num_args=2, axis=0),
    "padded to terabytes": lambda: _run("pad", (4,), pad_width=((2**45, 0),)),
    "sum of terabytes": lambda: _run("sum", (2**40, 2), axis=(0,)),
    "ones beyond 64 bits": lambda: mx.np.ones((2**40, 2**40)),
    "zeros at the edge of 64 bits": lambda: mx.np.zeros((2**62,)),
    "one-hot of terabytes": lambda: mx.npx.one_hot(mx.np.zeros((4,), dtype="int32"), depth=2**44),
    "tiled terabytes": lambda: mx.np.tile(mx.np.ones((4,)), (2**44,)),
    "reshape beyond 64 bits": lambda: mx.np.ones((4,)).reshape((2**33, 2**33)),
}


def _outcome(case: Callable[[], object]) -> list[Any]:
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        told = ["nothing", "it ran"]
        try:
            case()
        except Exception as error:
            told = [type(error).__name__, str(error)[:1000]]
        os.write(writable, json.dumps(told).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [status, *(json.loads(answer) if answer else ["", ""])]


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    print(json.dumps({name: _outcome(case) for name, case in CASES.items()}))
