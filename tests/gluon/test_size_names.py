"""Names of sizes that users give, and sizes to prepare for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as onp
import pytest

import minidnn as mx
from minidnn import np
from minidnn.contrib.quantization import quantize_net
from minidnn.errors import ShapeError
from minidnn.gluon import HybridBlock, SymbolBlock, nn

AXES = {"data": {0: "batch", 2: "height"}}


def make_images() -> Any:
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, padding=1, in_channels=3), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(2, in_units=4))
    net.initialize()
    return net


def images(*shape: int) -> Any:
    return np.array(onp.random.default_rng(sum(shape)).normal(size=shape).astype("float32"))


class Joined(HybridBlock):
    """Two inputs; long ones on the left take another way."""

    def __init__(self) -> None:
        super().__init__()
        self.traces = 0

    def forward(self, x: Any, y: Any) -> Any:
        self.traces += 1
        joined = np.concatenate([x, y], axis=1)
        return joined * 2 if x.shape[1] > 4 else joined


def planned(net: Any, *shapes: tuple[int, ...]) -> bool:
    types = tuple(np.ones(shape)._type for shape in shapes)
    return any(p.find_plan(types) is not None for programs in net._programs.values() for p in programs)


def exported(net: Any, folder: Path, inputs: list[str]) -> SymbolBlock:
    symbol_file, params_file = net.export(folder / "net")
    return SymbolBlock.imports(symbol_file, inputs, params_file)


# ---- names ----------------------------------------------------------------------------------------


def test_names_show_wherever_shapes_do(tmp_path: Path) -> None:
    net = make_images()
    net.optimize_for(images(2, 3, 8, 8), axes=AXES)
    shown = "(batch, 3, height, W)"
    assert shown in net.explain_shapes()
    symbol, _ = net.export(None)
    assert "float32[batch, 3, height, W]" in str(symbol)
    row = next(row for row in json.loads(symbol.tojson())["nodes"] if row["name"] == "data")
    assert row["attrs"]["__shape__"] == shown
    assert "4xheightxW" in mx.viz.plot_network(symbol, shape={}).source
    assert symbol.infer_shape()[0][0] == symbol.variables()[0].hints["shape"]


@pytest.mark.parametrize("way", ["exported", "quantized", "hybridized"])
def test_names_stay(way: str, tmp_path: Path) -> None:
    net, x = make_images(), images(2, 3, 8, 8)
    if way == "hybridized":
        net.hybridize(axes=AXES)
    else:
        net.optimize_for(x, axes=AXES)
    if way == "exported":
        net = exported(net, tmp_path, ["data"])
    elif way == "quantized":
        net = quantize_net(net, calib_mode="naive", calib_data=[x])
    assert net(images(3, 3, 9, 8)).shape == (3, 2)
    assert "(batch, 3, height, W), traced with (3, 3, 9, 8)" in net.explain_shapes()
    # Names are kept until others are given.
    net.optimize_for(x)
    assert "(batch, 3, height, W)" in net.explain_shapes()
    net.optimize_for(x, axes={"data": {3: "N"}})
    assert "(batch, 3, height, N)" in net.explain_shapes() or "(N2, 3, H, N)" in net.explain_shapes()


def test_names_of_a_file_can_be_replaced(tmp_path: Path) -> None:
    net = Joined()
    net.optimize_for(images(2, 3), images(2, 5), axes={"data0": {1: "left"}})
    again = exported(net, tmp_path, ["data0", "data1"])
    again.optimize_for(images(2, 3), images(2, 5), axes={"data0": {0: "batch", 1: "before"}, "data1": {1: "behind"}})
    assert "data0: (batch, before)" in again.explain_shapes()
    assert "data1: (batch, behind)" in again.explain_shapes()
    assert "before <= 4" in again.explain_shapes()
    assert again(images(3, 1), images(3, 2)).shape == (3, 3)
    with pytest.raises(ShapeError, match=r"before <= 4 .* does not hold for before = 5.*\(batch, before\)"):
        again(images(3, 5), images(3, 2))


def test_axes_of_one_name_have_one_size() -> None:
    class Apart(HybridBlock):
        def forward(self, x: Any, y: Any) -> Any:
            return x * 2, y * 3

    net = Apart()
    named = {"data0": {1: "length"}, "data1": {0: "length"}}
    net.optimize_for(images(2, 4), images(4, 3), axes=named)
    assert "data0: (N, length)" in net.explain_shapes()
    assert "data1: (length, L)" in net.explain_shapes()
    assert net(images(3, 7), images(7, 1))[1].shape == (7, 1)
    message = r"'length' names axis 1 of input 'data0', which is 5, and axis 0 of input 'data1', which is 6"
    with pytest.raises(ShapeError, match=message):
        net(images(3, 5), images(6, 1))
    with pytest.raises(ShapeError, match=message):
        Apart().optimize_for(images(3, 5), images(6, 1), axes=named)


def test_a_first_axis_without_a_name_shares_that_of_another_input() -> None:
    net = Joined()
    net.optimize_for(images(2, 3), images(2, 5), axes={"data1": {0: "batch"}})
    assert "data0: (batch, L)" in net.explain_shapes()


def test_names_do_not_decide_anything() -> None:
    net = Joined()
    net.optimize_for(images(2, 3), images(2, 5), axes={"data0": {0: "batch", 1: "left"}})
    for left in (1, 2, 4):
        x, y = images(3, left), images(3, 2)
        onp.testing.assert_array_equal(net(x, y).asnumpy(), onp.concatenate([x.asnumpy(), y.asnumpy()], axis=1))
    assert net.traces == 1
    assert net.explain_shapes().count("left <= 4") == 1


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ([("data", 0, "batch")], TypeError, "by their number"),
        ({"data": ["batch"]}, TypeError, "by their number"),
        ({"data": {0: 1}}, TypeError, "the name of axis 0 of 'data' must be a text, got 1"),
        ({"picture": {0: "batch"}}, ValueError, "no input 'picture'; inputs are called data, or data0"),
        ({"data1": {0: "batch"}}, ValueError, r"no input 'data1'; the inputs are \['data'\]"),
        ({"data": {4: "batch"}}, ValueError, "'batch' names axis 4 of input 'data', which has 4 dimensions"),
        ({"data": {-1: "batch"}}, ValueError, "must be a number from 0 on, got -1"),
        ({"data": {True: "batch"}}, ValueError, "must be a number from 0 on, got True"),
        ({"data": {0: "a batch"}}, ValueError, "must be an identifier, got 'a batch'"),
        ({"data": {0: "lambda"}}, ValueError, "must be an identifier"),
        ({"data": {0: "grö"}}, ValueError, "must be an identifier"),
        ({"data": {0: ""}}, ValueError, "must be an identifier"),
    ],
)
def test_names_that_cannot_be_are_refused(axes: Any, error: type[Exception], message: str) -> None:
    net = make_images()
    net.optimize_for(images(2, 3, 8, 8), axes=AXES)
    with pytest.raises(error, match=message):
        net.optimize_for(images(2, 3, 8, 8), axes=axes)
    assert "(batch, 3, height, W)" in net.explain_shapes(), "it is as it was"
    if "data1" not in message and "names axis 4" not in message:
        with pytest.raises(error, match=message):
            net.hybridize(axes=axes)


def test_blocks_of_graphs_name_their_inputs_in_errors(tmp_path: Path) -> None:
    net = make_images()
    net.optimize_for(images(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"no input 'data0'; inputs are called data$"):
        exported(net, tmp_path, ["data"]).hybridize(axes={"data0": {0: "batch"}})


# ---- sizes to prepare for -------------------------------------------------------------------------


def test_ends_of_ranges_and_lists_are_planned_ahead() -> None:
    net = make_images()
    net.optimize_for(images(2, 3, 8, 8), dynamic={"N": (1, 9), "H": [8, 12]})
    program = net._latest_program
    for n in (1, 9):
        for height in (8, 12):
            assert planned(net, (n, 3, height, 8))
    assert planned(net, (2, 3, 8, 8))
    assert not planned(net, (3, 3, 8, 8))
    # Others are never refused.
    assert net(images(30, 3, 5, 6)).shape == (30, 2)
    assert net._latest_program is program
    assert "traced with (2, 3, 8, 8)" in net.explain_shapes()


def test_names_of_users_say_what_to_prepare() -> None:
    net = make_images()
    net.optimize_for(images(2, 3, 8, 8), axes=AXES, dynamic={"batch": [5], "height": (8, 8)})
    assert planned(net, (5, 3, 8, 8))
    # The names are still there.
    net.optimize_for(images(2, 3, 8, 8), dynamic={"batch": [6]})
    assert planned(net, (6, 3, 8, 8))


def test_both_sides_of_a_decision_are_prepared() -> None:
    net = Joined()
    net.optimize_for(images(2, 3), images(2, 5), axes={"data0": {1: "left"}}, dynamic={"left": (1, 9)})
    assert net.traces == 2
    assert "left <= 4" in net.explain_shapes(), "the graph of the inputs that were given comes first"
    x, y = images(2, 9), images(2, 5)
    onp.testing.assert_array_equal(net(x, y).asnumpy(), 2 * onp.concatenate([x.asnumpy(), y.asnumpy()], axis=1))
    assert net.traces == 2


@pytest.mark.parametrize("way", ["exported", "quantized"])
def test_blocks_that_were_traced_elsewhere_are_prepared_too(way: str, tmp_path: Path) -> None:
    net, x = make_images(), images(2, 3, 8, 8)
    net.optimize_for(x, axes=AXES)
    if way == "exported":
        net = exported(net, tmp_path, ["data"])
    else:
        net = quantize_net(net, calib_mode="naive", calib_data=[x])
    net.optimize_for(x, dynamic={"batch": (1, 5)})
    assert planned(net, (1, 3, 8, 8))
    assert planned(net, (5, 3, 8, 8))


@pytest.mark.parametrize(
    ("dynamic", "error", "message"),
    [
        ([("N", 1, 64)], TypeError, r"as \{'N': \(1, 64\)\}"),
        ({"N": 64}, TypeError, "'N' must have a tuple of the lowest and the highest number, or a list"),
        ({"N": "64"}, TypeError, "'N' must have a tuple"),
        ({"N": (64, 1)}, ValueError, r"'N' must have a tuple .* got \(64, 1\)"),
        ({"N": (1, 2, 3)}, ValueError, "'N' must have a tuple"),
        ({"N": ()}, ValueError, "'N' must have a tuple"),
        ({"N": []}, ValueError, "'N' must have a tuple"),
        ({"N": (1, 2.5)}, ValueError, "'N' must have a tuple"),
        ({"N": [True]}, ValueError, "'N' must have a tuple"),
        ({"N": (-1, 4)}, ValueError, "'N' must have a tuple"),
        ({"batch": (1, 4)}, ValueError, "there is no size 'batch'; the sizes are N, H, W"),
        ({3: (1, 4)}, ValueError, "there is no size 3; the sizes are N, H, W"),
        ({"N": [*range(1, 40)], "H": [*range(9, 40)]}, ValueError, "1209 combinations of sizes; at most 1024"),
        ({"H": (1, 1 << 62)}, ShapeError, "dynamic: the network does not take N = 2, H = 4611686018427387904, W = 8"),
        ({"H": [0, 8]}, ShapeError, "dynamic: the network does not take N = 2, H = 0, W = 8: .*must not be empty"),
    ],
)
def test_sizes_that_cannot_be_prepared_are_refused(dynamic: Any, error: type[Exception], message: str) -> None:
    net = make_images()
    with pytest.raises(error, match=message):
        net.optimize_for(images(2, 3, 8, 8), dynamic=dynamic)
    with pytest.raises(RuntimeError):
        net.explain_shapes()
    assert net(images(2, 3, 8, 8)).shape == (2, 2), "it still runs, layer by layer"


def test_a_name_that_is_no_size_says_what_became_of_its_axis() -> None:
    net = make_images()
    with pytest.raises(ValueError, match=r"no size 'channels' \(axis 1 of 'data' is 3 in this network\)"):
        net.optimize_for(images(2, 3, 8, 8), axes={"data": {1: "channels"}}, dynamic={"channels": (1, 4)})


def test_what_is_prepared_needs_no_arrays_of_its_size() -> None:
    net = nn.HybridSequential()
    net.add(nn.Activation("relu"))
    net.optimize_for(images(2, 3), dynamic={"N": [1 << 36]})
    assert net._programs


def test_kernels_are_there_for_what_was_prepared() -> None:
    net = make_images()
    net.optimize_for(images(2, 3, 8, 8), dynamic={"N": (1, 6), "H": (8, 16)})
    before = mx.runtime.stats()
    for n, height in [(1, 8), (6, 16), (5, 13), (3, 16)]:
        net(images(n, 3, height, 8))
    after = mx.runtime.stats()
    assert (after.kernels_compiled, after.kernels_from_cache) == (before.kernels_compiled, before.kernels_from_cache)
