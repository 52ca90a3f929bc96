"""Int8 layers, and how they are run on any ISA of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from small_graphs import Array

from minidnn.ir.graph import Entry, Graph, evaluate, make_fused, make_node, make_variable
from minidnn.lowering import lower
from minidnn.ops.registry import TensorType
from minidnn.plan.program import Program
from minidnn.runtime.code_cache import CodeCache, default_folder
from minidnn.runtime.executor import Executor
from minidnn.runtime.library import Library
from minidnn.runtime.threads import pool
from minidnn_kernels.isa import ISAS, get_isa, host_supports

__all__ = ["HOST_ISAS", "Layer", "assert_exact", "integers", "run_on"]

HOST_ISAS = [isa.name for isa in ISAS if host_supports(isa)]

_RNG = np.random.default_rng(11)


def integers(shape: tuple[int, ...], signed: bool) -> Array:
    """Integers over the whole range of their type."""
    if signed:
        return _RNG.integers(-127, 128, shape).astype(np.int8)
    return _RNG.integers(0, 256, shape).astype(np.uint8)


@dataclass(frozen=True)
class Layer:
    """A convolution with what may follow it.

    Args:
        data: (N, C, H, W).
        filters, kernel, stride, pad, groups: of the convolution.
        residual: ``int8``, ``float32`` or nothing added.
        out: ``int32`` sums, ``float32``, or quantized ``int8`` / ``uint8``.
        scale, residual_scale: of the data and of the residual.
        limit: the upper end of the output's range.
        by_sample: whether each sample has a scale of its own, which is given.
        clip: the bounds of a ``clip`` in place of the ``relu``.
    """

    data: tuple[int, int, int, int]
    filters: int
    kernel: int = 1
    stride: int = 1
    pad: tuple[int, int] = (0, 0)
    groups: int = 1
    residual: str = ""
    out: str = "uint8"
    scale: float = 0.0037
    residual_scale: float = 0.021
    limit: float = 2.5
    by_sample: bool = False
    clip: tuple[float, float] | None = None

    def node(self) -> tuple[Graph, dict[str, Array], dict[str, tuple[int, ...]]]:
        """The graph of one fused node, its parameters, and the shape of what it is given beside the data."""
        channels = self.data[1]
        attrs = {
            "kernel": (self.kernel,) * 2,
            "stride": (self.stride,) * 2,
            "pad": self.pad,
            "num_filter": self.filters,
            "num_group": self.groups,
        }
        inner = [make_variable(f"in{i}") for i in range(7)]
        parameters = {
            "weight": integers((self.filters, channels // self.groups, self.kernel, self.kernel), True),
            "bias": _RNG.integers(-9000, 9000, self.filters).astype(np.int32),
            "scale": np.array([self.scale], np.float32),
            "channel_scale": _RNG.uniform(1e-3, 3e-3, self.filters).astype(np.float32),
            "residual_scale": np.array([self.residual_scale], np.float32),
        }
        result = make_node("quantized_convolution", "sums", inner[:3], attrs)[0]
        outputs: list[Entry] = [result]
        names = ["data", "weight", "bias"]
        if self.out != "int32":
            names += ["scale", "channel_scale"]
            result = make_node("dequantize", "real", [result, inner[3], inner[4]], {"per_channel": True})[0]
            if self.residual:
                names += ["residual", "residual_scale"] if self.residual == "int8" else ["residual"]
                other = inner[5]
                if self.residual == "int8":
                    other = make_node("dequantize", "real_residual", [inner[5], inner[6]])[0]
                result = make_node("add", "sum", [result, other])[0]
            if self.clip is None:
                result = make_node("relu", "relu", [result])[0]
            else:
                result = make_node("clip", "clip", [result], {"a_min": self.clip[0], "a_max": self.clip[1]})[0]
            outputs = [result]
        if self.out in ("int8", "uint8"):
            attrs = {"out_type": self.out, "min_calib_range": -2.0, "max_calib_range": self.limit}
            quantized = make_node("quantize", "quantized", [result], attrs)
            outputs = [quantized[0], quantized[1]]
        node = make_fused("layer", [make_variable(name) for name in names], Graph(outputs))
        size = (self.data[2] + 2 * self.pad[0] - self.kernel) // self.stride + 1
        width = (self.data[3] + 2 * self.pad[1] - self.kernel) // self.stride + 1
        shapes = {"residual": (self.data[0], self.filters, size, width)} if self.residual else {}
        if self.by_sample:
            shapes["scale"] = (self.data[0], 1, 1, 1)
        known = {name: parameters[name] for name in names if name in parameters and name not in shapes}
        return Graph([node[i] for i in range(len(outputs))]), known, shapes

    def feed(self, signed: bool) -> dict[str, Array]:
        """What the layer is given: the data, and the residual if there is one."""
        feed = {"data": integers(self.data, signed)}
        _, _, shapes = self.node()
        for name, shape in shapes.items():
            if name == "scale":
                feed[name] = _RNG.uniform(1e-3, 9e-3, shape).astype(np.float32)
                continue
            whole = self.residual == "int8"
            feed[name] = integers(shape, False) if whole else _RNG.standard_normal(shape).astype(np.float32)
        return feed


def run_on(
    isa: str,
    graph: Graph,
    parameters: Mapping[str, Array],
    feed: Mapping[str, Array],
    layouts: Sequence[str] | None = None,
) -> tuple[Program, list[Array]]:
    """The program for that ISA, and what it makes of `feed`; inputs and outputs are in C order by default."""
    library = Library(get_isa(isa), CodeCache(default_folder()))
    inputs = {name: (TensorType.of(array), "plain") for name, array in feed.items()}
    program = lower(graph, parameters, inputs, layouts or ["plain"] * len(graph.outputs), library.isa)
    return program, Executor(program, library, pool)(list(feed.values()))


def assert_exact(isa: str, graph: Graph, parameters: Mapping[str, Array], feed: Mapping[str, Array]) -> Program:
    """The program for that ISA gives bit for bit what the operators' references give."""
    program, results = run_on(isa, graph, parameters, feed)
    for result, wanted in zip(results, evaluate(graph, {**parameters, **feed}), strict=True):
        assert result.dtype == wanted.dtype
        np.testing.assert_array_equal(result, wanted)
    return program
