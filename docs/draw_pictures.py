"""Draws the SampleBlock at each stage from how it is written to int8, as compiler.md shows it, into pictures/.

    python docs/draw_pictures.py

The weights are such that the calibrated ranges, and so the pictures, are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from dump_stages import make_network

from minidnn.contrib.quantization import quantization_stages
from minidnn.ir.graph import Graph
from minidnn.viz.picture import make_picture
from minidnn.viz.svg import draw_svg
from minidnn.viz.types import given_types

PICTURES = Path(__file__).with_name("pictures")


def pictures() -> dict[str, str]:
    """The text of every picture, by file name."""
    net, data = make_network()
    net.hybridize()
    net(data)
    int8 = quantization_stages(net, calib_mode="naive", calib_data=[data])
    assert int8.calibrated is not None

    def draw(graph: Graph, title: str, parameters: Collection[str] = ()) -> str:
        picture = make_picture(graph, given_types(graph, None), hidden=parameters)
        return draw_svg(picture, f"SampleBlock, {title}")

    def draw_stage(name: str, title: str) -> str:
        stage = getattr(int8, name)
        return draw(stage.graph, title, stage.parameters)

    return {
        "sample-block-1-traced.svg": draw(net.export(None)[0], "as it is written"),
        "sample-block-2-fused.svg": draw(int8.fused, "after fusion"),
        "sample-block-3-inserted.svg": draw_stage("inserted", "quantize and dequantize inserted"),
        "sample-block-4-calibrated.svg": draw_stage("calibrated", "ranges calibrated"),
        "sample-block-5-quantized.svg": draw_stage("quantized", "int8, fused"),
    }


if __name__ == "__main__":
    for name, text in pictures().items():
        (PICTURES / name).write_text(text, "utf-8")
