"""Draws the pictures in this folder: one block at each stage from how it is written to int8.

Usage: ``python docs/pictures/draw.py [FOLDER]``; without a folder, into this one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import minidnn as mx
from minidnn.contrib.quantization import quantization_stages
from minidnn.gluon import nn
from minidnn.viz.picture import make_picture
from minidnn.viz.svg import draw_svg
from minidnn.viz.types import given_types

SHAPE = (1, 64, 56, 56)
STAGES = {
    "1-traced": "as it is written",
    "2-fused": "after fusion",
    "3-inserted": "quantize and dequantize inserted",
    "4-calibrated": "ranges calibrated",
    "5-quantized": "int8, fused",
}


class SampleBlock(nn.HybridBlock):
    """Two convolutions with a shortcut around them: the block of residual networks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(channels=64, kernel_size=3, strides=1, padding=1, use_bias=False, in_channels=64)
        self.bn1 = nn.BatchNorm(in_channels=64)
        self.conv2 = nn.Conv2D(channels=64, kernel_size=3, strides=1, padding=1, use_bias=False, in_channels=64)
        self.bn2 = nn.BatchNorm(in_channels=64)

    def forward(self, x: Any) -> Any:
        out = mx.npx.activation(self.bn1(self.conv1(x)), "relu")
        out = self.bn2(self.conv2(out))
        return mx.npx.activation(out + x, "relu")


def make_block() -> SampleBlock:
    """The block with weights that are the same every time."""
    block = SampleBlock()
    block.initialize()
    random = np.random.default_rng(0)
    for name, parameter in sorted(block.collect_params().items()):
        if name.endswith("weight"):
            parameter.set_data(mx.np.array(random.standard_normal(parameter.shape, np.float32) / 24))
    return block


def draw(folder: Path) -> list[Path]:
    """Draw all pictures into `folder`; gives the files."""
    block = make_block()
    data = mx.np.array(np.random.default_rng(1).standard_normal(SHAPE, np.float32))
    stages = quantization_stages(block, calib_mode="naive", calib_data=[data])
    block.hybridize()
    block(data)
    graphs: list[tuple[Any, Any]] = [(block.export(None)[0], ()), (stages.fused, ())]
    for stage in (stages.inserted, stages.calibrated, stages.quantized):
        assert stage is not None
        graphs.append((stage.graph, stage.parameters))
    files = []
    for (stem, title), (graph, hidden) in zip(STAGES.items(), graphs, strict=True):
        picture = make_picture(graph, given_types(graph, None), hidden=hidden)
        file = folder / f"sample-block-{stem}.svg"
        file.write_text(draw_svg(picture, f"SampleBlock, {title}"), encoding="utf-8")
        files.append(file)
    return files


if __name__ == "__main__":
    for path in draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent):
        print(path)
