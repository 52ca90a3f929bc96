"""Pictures drawn without Graphviz: nothing overlaps, text is text, int8 has its colours; and those in the docs."""

from __future__ import annotations

import importlib
import itertools
import random
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

import minidnn as mx
from minidnn.errors import GraphError
from minidnn.symbol import Symbol, var
from minidnn.symbol.symbol import apply_op
from minidnn.viz import plot_network
from minidnn.viz.layout import lay_out
from minidnn.viz.picture import Picture, make_picture
from minidnn.viz.svg import draw_page, draw_svg
from minidnn.viz.types import given_types

DOCS = Path(__file__).parents[1] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def picture(symbol: Symbol, **shape: tuple[int, ...]) -> Picture:
    return make_picture(symbol, given_types(symbol, shape))


def residual(**hints: object) -> Symbol:
    x = var("x", **hints)
    conv = apply_op("convolution", [x, var("w")], "conv", kernel=(3, 3), num_filter=4, pad=(1, 1), no_bias=True)
    return apply_op("relu", [apply_op("add", [conv, x], "add")], "out")


def quantized() -> Symbol:
    """x -> int8 -> float32, and x -> uint8 -> float32."""
    x = var("x", shape=(2, 3))
    both = []
    for out_type in ("int8", "uint8"):
        q = apply_op("quantize", [x], f"q_{out_type}", out_type=out_type, min_calib_range=0.0, max_calib_range=1.5)
        both.append(apply_op("dequantize", [q[0], q[1]], f"d_{out_type}"))
    return both[0] + both[1]


def test_long_numbers_are_rounded() -> None:
    symbol = apply_op("hard_sigmoid", [apply_op("add_scalar", [var("x")], "a", scalar=1.5)], "h", alpha=1 / 6)
    assert [box.lines[1:] for box in picture(symbol).boxes[1:]] == [
        ("add_scalar scalar=1.5",),
        ("hard_sigmoid alpha=0.1667",),
    ]


def texts(element: ElementTree.Element) -> list[str]:
    return [e.text or "" for e in element.iter(f"{SVG}text")]


# ---- layout ----------------------------------------------------------------------------------------


def random_graph(seed: int) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    chance = random.Random(seed)
    boxes = [(chance.uniform(30, 200), chance.uniform(20, 90)) for _ in range(chance.randint(1, 30))]
    arrows = {
        (chance.randint(max(0, reader - 8), reader - 1), reader)
        for reader in range(1, len(boxes))
        for _ in range(chance.randint(0, 3))
    }
    return boxes, sorted(arrows)


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_boxes_and_labels_never_overlap_and_arrows_go_up(seed: int, labelled: bool) -> None:
    boxes, arrows = random_graph(seed)
    label = (70.0, 16.0) if labelled else None
    layout = lay_out(boxes, arrows, [label] * len(arrows))
    placed = [*zip(layout.boxes, boxes, strict=True), *((at, label) for at in layout.labels if at and label)]
    for ((x, y), (wide, high)), ((u, v), (w, h)) in itertools.combinations(placed, 2):
        assert abs(x - u) >= (wide + w) / 2 or abs(y - v) >= (high + h) / 2
    for (x, y), (wide, high) in placed:
        assert x - wide / 2 >= -1e-6
        assert x + wide / 2 <= layout.width + 1e-6
        assert y - high / 2 >= -1e-6
        assert y + high / 2 <= layout.height + 1e-6
    for (source, reader), route in zip(arrows, layout.routes, strict=True):
        heights = [y for _, y in route]
        assert heights == sorted(heights, reverse=True)
        assert route[0][1] == pytest.approx(layout.boxes[source][1] - boxes[source][1] / 2)
        assert route[-1][1] == pytest.approx(layout.boxes[reader][1] + boxes[reader][1] / 2)


def test_a_chain_is_straight() -> None:
    layout = lay_out([(50, 20)] * 5, [(i, i + 1) for i in range(4)], [None] * 4)
    assert {x for x, _ in layout.boxes} == {25.0}


def test_branches_do_not_cross() -> None:
    """Two chains between one fork and one join, whose nodes come interleaved the wrong way round."""
    arrows = [(0, 1), (0, 2), (1, 4), (2, 3), (3, 5), (4, 5)]
    layout = lay_out([(40, 20)] * 6, arrows, [None] * 6)
    left = {i for i in range(1, 5) if layout.boxes[i][0] < layout.boxes[0][0]}
    assert left in ({1, 4}, {2, 3})


def test_a_graph_that_would_fill_the_memory_is_refused() -> None:
    count = 1000
    arrows = [(i, i + 1) for i in range(count - 1)] + [(i, count - 1) for i in range(count - 2)]
    with pytest.raises(GraphError, match=r"too large to draw: 499,\d+ boxes and bends"):
        lay_out([(1, 1)] * count, arrows, [None] * len(arrows))


def test_nothing_is_laid_out_as_nothing() -> None:
    layout = lay_out([], [], [])
    assert (layout.width, layout.height, layout.boxes) == (0.0, 0.0, ())


# ---- SVG -------------------------------------------------------------------------------------------


def test_every_box_and_arrow_is_drawn() -> None:
    root = ElementTree.fromstring(draw_svg(picture(residual(), x=(1, 4, 8, 8)), "net"))
    assert root.tag == f"{SVG}svg"
    groups = [g for g in root.iter(f"{SVG}g") if g.get("class") in ("operation", "variable")]
    assert [texts(g) for g in groups] == [["x"], ["conv", "convolution 3x3/1, 4"], ["add", "add"], ["out", "relu"]]
    arrows = {(p.get("data-from"), p.get("data-to")) for p in root.iter(f"{SVG}path") if p.get("class") == "arrow"}
    assert arrows == {("0", "1"), ("0", "2"), ("1", "2"), ("2", "3")}
    assert texts(root).count("1x4x8x8") == 4
    assert texts(root)[0] == "net"


def test_fused_node_lists_what_is_inside() -> None:
    root = ElementTree.fromstring(draw_svg(picture(residual(shape=(1, 4, 8, 8)).optimize_for())))
    (fused,) = [texts(g) for g in root.iter(f"{SVG}g") if g.get("class") == "operation"]
    assert fused == ["fused_conv_add_act_0", "convolution 3x3/1, 4", "add", "relu"]


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert draw_svg(picture(residual(), x=(1, 4, 8, 8))) == draw_svg(picture(residual(), x=(1, 4, 8, 8)))


@pytest.mark.parametrize("name", ["<b>&\"'", "</svg><script>", "\x1b[2J\n", "名前", "x" * 300])
def test_names_are_text_and_nothing_else(name: str) -> None:
    made = picture(apply_op("exp", [var(name)], "exp"))
    for text in (draw_svg(made, name), draw_page(made, name).removeprefix("<!DOCTYPE html>\n")):
        root = ElementTree.fromstring(text)
        assert not [e for e in root.iter() if e.tag.endswith("script") or e.tag == "b"]
        assert "\x1b" not in text


def test_page_needs_nothing_beside_it() -> None:
    page = draw_page(picture(residual()), "net")
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href|onload)=", page)


# ---- dtypes ----------------------------------------------------------------------------------------


def test_int8_and_uint8_have_colours_and_a_legend() -> None:
    made = picture(quantized())
    colours = dict(made.legend)
    assert colours.keys() == {"float32", "int8", "uint8"}
    assert len(set(colours.values())) == 3
    by_name = {box.name: box for box in made.boxes}
    assert by_name["q_int8"].outline == colours["int8"]
    assert by_name["d_uint8"].outline == colours["float32"]
    assert "quantize uint8 [0, 1.5]" in by_name["q_uint8"].lines
    said = {(made.boxes[a.source].name, a.dtype, a.label) for a in made.arrows if a.dtype in ("int8", "uint8")}
    assert said == {("q_int8", "int8", "2x3"), ("q_uint8", "uint8", "2x3")}
    drawn = draw_svg(made)
    assert all(f'stroke="{colour}"' in drawn for colour in colours.values())
    assert texts(ElementTree.fromstring(drawn))[-3:] == ["float32", "int8", "uint8"]


def test_graphviz_gets_the_colours_too() -> None:
    source = plot_network(quantized()).source
    colours = dict(picture(quantized()).legend)
    for dtype in ("int8", "uint8"):
        assert re.search(rf'q_{dtype}\n.*color="{colours[dtype]}"', source)
        assert re.search(rf'n\d -> n\d \[.*color="{colours[dtype]}"', source)
        assert f"legend_{dtype}" in source
    assert "cluster_legend" in source


def test_float32_alone_needs_no_legend() -> None:
    assert picture(residual(), x=(1, 4, 8, 8)).legend == ()
    assert "legend" not in plot_network(residual(), shape={"x": (1, 4, 8, 8)}).source


def test_a_scale_that_goes_its_own_way_says_so() -> None:
    q = apply_op("quantize", [var("x", shape=(1, 2, 4, 4))], "q", min_calib_range=0.0, max_calib_range=1.5)
    pool = apply_op("pooling", [q[0]], "pool", kernel=(2, 2), pool_type="max")
    made = picture(apply_op("dequantize", [pool, q[1]], "d"))
    names = [box.name for box in made.boxes]
    labels = {(names[a.source], names[a.reader]): a.label for a in made.arrows}
    assert labels[("q", "d")] == "scale"
    assert labels[("q", "pool")] == "1x2x4x4"


# ---- the pictures of the docs ----------------------------------------------------------------------


def structure(text: str) -> tuple[list[list[str]], set[tuple[str | None, ...]]]:
    """Texts of the boxes; and the arrows with their colours."""
    root = ElementTree.fromstring(text)
    boxes = [texts(g) for g in root.iter(f"{SVG}g") if g.get("class") in ("operation", "variable")]
    keys = ("data-from", "data-to", "stroke")
    return boxes, {tuple(map(p.get, keys)) for p in root.iter(f"{SVG}path") if p.get("class") == "arrow"}


def test_pictures_of_the_docs_are_what_their_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """If not: python docs/draw_pictures.py."""
    monkeypatch.syspath_prepend(DOCS)
    script = importlib.import_module("draw_pictures")
    made = script.pictures()
    assert sorted(made) == sorted(f.name for f in (DOCS / "pictures").glob("*.svg"))
    page = (DOCS / "compiler.md").read_text("utf-8")
    for name, text in made.items():
        assert structure(text) == structure((DOCS / "pictures" / name).read_text("utf-8")), name
        assert f"(pictures/{name})" in page
    assert [len(structure(text)[0]) for text in made.values()] == [8, 3, 6, 6, 4]


def test_a_network_of_the_zoo_is_drawn_whole() -> None:
    net = mx.gluon.model_zoo.vision.get_model("mobilenetv2_0.25")
    net.initialize()
    net.hybridize()
    net(mx.np.zeros((1, 3, 64, 64)))
    symbol = net.export(None)[0]
    root = ElementTree.fromstring(draw_svg(picture(symbol)))
    operations = [g for g in root.iter(f"{SVG}g") if g.get("class") == "operation"]
    assert len(operations) == len(symbol.operations())
