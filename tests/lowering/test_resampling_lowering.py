"""Resampling as steps, against the operator's reference, which its own tests compare with ONNX's and PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_graphs import channels_last, check, compared, compiled, node, normal, run, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.values import CHANNELS_LAST, PLAIN
from minidnn.ops.sampling import COORDINATES, ROUNDINGS

var = make_variable


def resampled(shape: tuple[int, ...], axis: int, size: int, layout: str = PLAIN, **attrs: Any) -> list[str]:
    scale = attrs.pop("scale", size / shape[axis])
    graph = Graph([node("resample", var("x"), axis=axis, size=size, scale=scale, **attrs)])
    made = steps(check(graph, {"x": normal(*shape)}, (), {"x": layout}, tolerance=1e-5))
    assert "host" not in made
    return made


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_coordinates(mode: str, coordinates: str) -> None:
    for layout in (PLAIN, CHANNELS_LAST):
        window = {"start": -0.1, "end": 0.9} if coordinates == "tf_crop_and_resize" else {}
        for size in (1, 3, 11):
            resampled((2, 3, 7, 5), 2, size, layout, mode=mode, coordinates=coordinates, extrapolation=9.0, **window)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize("layout", [PLAIN, CHANNELS_LAST])
def test_any_axis(axis: int, layout: str) -> None:
    resampled((3, 19, 5, 6), axis, 8, layout)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7), (2, 1, 3, 2, 7)])
def test_the_last_axis_of_any_rank(shape: tuple[int, ...]) -> None:
    resampled(shape, len(shape) - 1, 12, mode="cubic")


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_smaller_pictures_with_and_without_smoothing(mode: str) -> None:
    for antialias in (False, True):
        for exclude in (False, True):
            resampled((1, 4, 23, 9), 2, 6, mode=mode, antialias=antialias, exclude_outside=exclude)


def test_a_scale_that_is_not_the_quotient_of_sizes() -> None:
    resampled((1, 2, 6, 5), 3, 7, scale=1.5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nearest_elements_only_move(dtype: str, rounding: str) -> None:
    x = (9 * normal(2, 3, 7, 5)).astype(dtype)
    first = node("resample", var("x"), axis=2, size=12, scale=12 / 7, mode="nearest", rounding=rounding, name="rows")
    both = node("resample", first, axis=3, size=3, scale=3 / 5, mode="nearest", rounding=rounding, name="columns")
    for layout in (PLAIN, CHANNELS_LAST):
        program = compiled(Graph([both]), {"x": x}, (), {"x": layout}, [layout])
        assert steps(program) == ["gather_loop"], "both axes in one step"
        given = channels_last(x) if layout == CHANNELS_LAST else x
        wanted = x.astype(np.float64)
        for node_ in Graph([both]).operations():
            (wanted,) = node_.compute([wanted])
        np.testing.assert_array_equal(run(program, [given])[0].astype(np.float64), wanted)


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
def test_odd_reflections(mode: Any) -> None:
    for shape, pairs, layout in (
        ((2, 3, 5, 4), ((0, 0), (1, 1), (2, 1), (3, 9)), PLAIN),
        ((2, 9, 5, 4), ((0, 1), (0, 0), (7, 0), (0, 2)), CHANNELS_LAST),
        ((6,), ((4, 5),), PLAIN),
        ((3, 1), ((2, 2), (0, 0)), PLAIN),
    ):
        x = normal(*shape)
        graph = Graph([node("pad", var("x"), pad_width=pairs, mode=mode, reflect_type="odd")])
        program = compiled(graph, {"x": x}, (), {"x": layout})
        assert "host" not in steps(program)
        (got,) = run(program, [channels_last(x) if layout == CHANNELS_LAST else x])
        np.testing.assert_allclose(got, np.pad(x, pairs, mode, reflect_type="odd"), 1e-5, 1e-5)


@pytest.mark.parametrize(
    ("image", "kernel", "stride", "dilate", "pad"),
    [
        ((9,), (3,), (2,), (1,), (1, 1)),
        ((5, 6), (2, 3), (1, 1), (2, 1), (1, 0, 1, 0)),
        # Some elements are under no window.
        ((7, 9), (2, 2), (3, 4), (1, 1), (0, 0, 0, 0)),
        ((4, 5, 3), (2, 2, 3), (1, 2, 1), (1, 1, 1), (0, 1, 2, 0, 0, 2)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_columns_become_an_image(image: Any, kernel: Any, stride: Any, dilate: Any, pad: Any, dtype: str) -> None:
    rank = len(image)
    counts = [
        (n + pad[i] + pad[i + rank] - dilate[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i, n in enumerate(image)
    ]
    x = normal(2, 5 * int(np.prod(kernel)), int(np.prod(counts))).astype(dtype)
    attrs = {"image": image, "kernel": kernel, "stride": stride, "dilate": dilate, "pad": pad}
    compared("columns_to_image", {"x": x}, tolerance=1e-6 if dtype == "float32" else 1e-3, **attrs)
