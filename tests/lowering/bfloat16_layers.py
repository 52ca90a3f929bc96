"""Layers with weights in bfloat16, as graphs: the same for every machine that they run on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_graphs import Array, fuse, inner, node, normal

from minidnn.ir.graph import Graph, make_variable
from minidnn_kernels.element_type import BFLOAT16
from minidnn_kernels.isa import Isa

sys.path.append(str(Path(__file__).parents[1] / "kernels"))

from bfloat16_problem import bits_of, rounded

__all__ = ["LAYERS", "Layer", "kernels"]


@dataclass(frozen=True)
class Layer:
    """A product with a bias and a ReLU behind it.

    Args:
        op: the operator.
        data: shape of the data, whose name is ``x``.
        weight: shape of the weights.
        attrs: of the operator.
        depth: what is summed behind a row pointer; 0 where data is float32 on every machine.
    """

    op: str
    data: tuple[int, ...]
    weight: tuple[int, ...]
    attrs: Mapping[str, Any]
    depth: int

    def is_paired(self, isa: Isa) -> bool:
        """Whether data is rounded to bfloat16 there."""
        return bool(isa.bfloat16) and self.depth > 0 and self.depth % BFLOAT16.dot(isa).group == 0

    def graph(self) -> Graph:
        x, w, b = inner(3)
        made = node(f"{self.op}_bfloat16_weight", x, w, b, **self.attrs)
        return fuse("fused", [make_variable(name) for name in ("x", "w", "b")], [node("relu", made)])

    def feed(self, with_rounded_data: bool = False) -> dict[str, Array]:
        outputs = self.attrs.get("num_filter") or self.attrs["num_hidden"]
        x = normal(*self.data)
        return {
            "x": rounded(x) if with_rounded_data else x,
            "w": bits_of(normal(*self.weight, seed=1) / 8),
            "b": normal(outputs, seed=2),
        }


_DECONVOLUTION = {"kernel": (3, 3), "num_filter": 21, "no_bias": False}

LAYERS = {
    "3x3": Layer("convolution", (2, 12, 9, 7), (37, 12, 3, 3), {"kernel": (3, 3), "pad": (1, 1), "num_filter": 37}, 12),
    "1x1": Layer("convolution", (1, 64, 5, 6), (33, 64, 1, 1), {"kernel": (1, 1), "num_filter": 33}, 64),
    "odd depth": Layer("convolution", (1, 19, 5, 6), (40, 19, 1, 1), {"kernel": (1, 1), "num_filter": 40}, 0),
    "groups": Layer(
        "convolution",
        (2, 24, 8, 7),
        (20, 12, 3, 2),
        {"kernel": (3, 2), "stride": (2, 1), "dilate": (1, 2), "num_group": 2, "num_filter": 20},
        12,
    ),
    "one dimension": Layer("convolution", (3, 20, 30), (17, 20, 5), {"kernel": (5,), "num_filter": 17}, 20),
    "an image": Layer("convolution", (1, 4, 12, 12), (24, 4, 5, 5), {"kernel": (5, 5), "num_filter": 24}, 0),
    "few filters": Layer("convolution", (1, 16, 5, 6), (3, 16, 1, 1), {"kernel": (1, 1), "num_filter": 3}, 0),
    "dense": Layer("fully_connected", (9, 4, 11), (50, 44), {"num_hidden": 50}, 44),
    "dense, one row": Layer("fully_connected", (1, 128), (65, 128), {"num_hidden": 65}, 128),
    "dense, not flat": Layer("fully_connected", (2, 3, 32), (33, 32), {"num_hidden": 33, "flatten": False}, 32),
    "transposed": Layer("deconvolution", (1, 12, 6, 5), (12, 21, 3, 3), {**_DECONVOLUTION, "stride": (2, 2)}, 0),
    "transposed, dense": Layer("deconvolution", (1, 12, 6, 5), (12, 21, 3, 3), _DECONVOLUTION, 12),
}


def kernels(program: Any) -> list[str]:
    """The names of its microkernels."""
    return [spec.name for spec in program.kernels()]
