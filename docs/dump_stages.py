"""What the compiler makes of the SampleBlock, stage by stage: fills the blocks of compiler.md.

    python docs/dump_stages.py

A block of compiler.md stands between ``<!-- stage NAME -->`` and the next ``<!-- end -->``. All of it is the same on
every machine: plans and assembly are made for a named instruction set, which this machine need not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.contrib.quantization import quantization_stages
from minidnn.gluon import nn
from minidnn.ir.graph import Graph
from minidnn.ir.printing import format_graph
from minidnn.lowering import lower
from minidnn.ops.registry import TensorType
from minidnn.passes import FUSION_PASSES
from minidnn.plan.program import Program
from minidnn_kernels.codegen import emit_asm
from minidnn_kernels.isa import get_isa

PAGE = Path(__file__).with_name("compiler.md")
_SHAPE = (1, 64, 14, 14)
_ISA = "avx512vnni"
_BLOCK = re.compile(r"(<!-- stage (\w+) -->\n```text\n).*?(```\n<!-- end -->)", re.DOTALL)
_ASSEMBLY_LINES = 24


class SampleBlock(nn.HybridBlock):
    """The residual block of ResNet that the tutorial uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels=64, kernel_size=3, padding=1, use_bias=False, in_channels=64)
        self.bn1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(channels=64, kernel_size=3, padding=1, use_bias=False, in_channels=64)
        self.bn2 = nn.BatchNorm()

    def forward(self, x: Any) -> Any:
        out = mx.npx.activation(self.bn1(self.conv1(x)), "relu")
        return mx.npx.activation(self.bn2(self.conv2(out)) + x, "relu")


def make_network() -> tuple[SampleBlock, Any]:
    """The block with weights, the same on every machine, and a batch for it."""
    random = np.random.default_rng(0)
    net = SampleBlock()
    net.initialize()
    net.infer_shape(mx.np.zeros(_SHAPE))
    for name, parameter in net.collect_params().items():
        if name.endswith("weight"):
            # Multiples of 1/64: every sum of products is exact, so ranges are the same in whatever order one adds.
            parameter.set_data(mx.np.array(random.integers(-4, 5, parameter.shape).astype(np.float32) / 64))
    return net, mx.np.array(random.integers(0, 17, _SHAPE).astype(np.float32) / 16)


def _plan(graph: Graph, parameters: Mapping[str, Any], isa: str = _ISA) -> Program:
    arrays = {name: np.asarray(array) for name, array in parameters.items()}
    given = {"data": (TensorType(_SHAPE, np.dtype(np.float32)), "plain")}
    return lower(graph, arrays, given, ["plain"] * len(graph.outputs), get_isa(isa))


def _stretch(assembly: str, around: str) -> str:
    """The lines of assembly about the middle of where an instruction stands."""
    lines = [line.strip().expandtabs(1) for line in assembly.splitlines()]
    found = [i for i, line in enumerate(lines) if line.startswith(around)]
    first = max(found[len(found) // 2] - _ASSEMBLY_LINES // 2, 0)
    return "\n".join(lines[first : first + _ASSEMBLY_LINES])


def stages() -> dict[str, str]:
    """The text of every block, by name."""
    net, data = make_network()
    net.hybridize()
    net(data)
    traced, arrays = net.export(None)
    parameters = {name.partition(":")[2]: array for name, array in arrays.items()}
    made = {"traced": format_graph(traced)}
    graph: Graph = traced
    for name, transform in FUSION_PASSES:
        graph = transform(graph)
        made[name] = format_graph(graph)
    made["plan"] = str(_plan(graph, parameters))
    int8 = quantization_stages(net, calib_mode="naive", calib_data=[data])
    assert int8.calibrated is not None
    made["inserted"] = format_graph(int8.inserted.graph)
    made["calibrated"] = format_graph(int8.calibrated.graph)
    made["quantized"] = format_graph(int8.quantized.graph)
    plan = _plan(int8.quantized.graph, int8.quantized.parameters)
    made["int8_plan"] = str(plan)
    made["kernels"] = "\n".join(spec.name for spec in plan.kernels())
    avx2 = _plan(int8.quantized.graph, int8.quantized.parameters, "avx2")
    made["kernels_avx2"] = "\n".join(spec.name for spec in avx2.kernels())
    isa = get_isa(_ISA)
    assembly = {spec.name: emit_asm(spec.emit(isa), isa) for spec in plan.kernels()}
    (busy,) = [name for name, text in assembly.items() if "vpdpbusd" in text][:1]
    made["assembly"] = f"{busy}\n\n{_stretch(assembly[busy], 'vpdpbusd')}"
    return made


def filled(page: str) -> str:
    """The page with its blocks filled."""
    made = stages()
    return _BLOCK.sub(lambda match: f"{match[1]}{made[match[2]]}\n{match[3]}", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
