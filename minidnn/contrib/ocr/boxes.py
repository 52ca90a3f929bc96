"""Where text is: rotated boxes around the bright parts of a detector's map, and the pixels inside of them.

M. Liao et al.: Real-time Scene Text Detection with Differentiable Binarization, AAAI 2020. The map is of text that has
been shrunk, so boxes are made larger again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidnn.image_headers import module

__all__ = ["cut_out", "find_boxes"]

Array = np.ndarray[Any, Any]

# What PP-OCR's models were tuned with: pixels and boxes are at least so likely to be text, and grow by so much.
_PIXEL, _BOX, _GROWTH = 0.3, 0.5, 1.6
# In pixels of the map, before and behind the growth.
_LEAST_SIDES = (3, 5)
_MOST_BOXES = 1000
# Boxes whose tops are so near, in shares of the height, are in one line.
_SAME_LINE = 0.5
# A box so much higher than wide has its text from top to bottom.
_UPRIGHT = 1.5


def find_boxes(heat: Array, width: int, height: int) -> list[Array]:
    """Boxes of lines of text, from top to bottom and from left to right.

    Args:
        heat: how likely each pixel is text, float32 ``(H, W)``.
        width, height: of the picture that the map is of.

    Returns:
        Corners float32 ``(4, 2)`` of each box, x and y in pixels of the picture: top left, top right, bottom right,
        bottom left.
    """
    cv2 = module("cv2")
    mask = cv2.dilate((heat > _PIXEL).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([width / heat.shape[1], height / heat.shape[0]], np.float32)
    found = []
    for contour in contours[:_MOST_BOXES]:
        middle, sides, angle = cv2.minAreaRect(contour)
        if min(sides) < _LEAST_SIDES[0] or _mean_inside(heat, (middle, sides, angle)) < _BOX:
            continue
        growth = sides[0] * sides[1] * _GROWTH / sum(sides)
        sides = (sides[0] + growth, sides[1] + growth)
        if min(sides) >= _LEAST_SIDES[1]:
            corners = _in_order(cv2.boxPoints((middle, sides, angle))) * scale
            found.append(np.clip(corners, 0, np.array([width, height], np.float32)))
    return _as_read([box for box in found if min(_size(box)) >= 1])


def _mean_inside(heat: Array, box: Any) -> float:
    """The mean of the map inside of a box."""
    cv2 = module("cv2")
    points = cv2.boxPoints(box)
    low = np.clip(np.floor(points.min(0)), 0, None).astype(int)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + 1, heat.shape[::-1])
    part = heat[low[1] : high[1], low[0] : high[0]]
    inside = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(points - low).astype(np.int32)], 1)
    return float(part[inside > 0].mean()) if inside.any() else 0.0


def _in_order(points: Array) -> Array:
    """Corners clockwise from the top left one."""
    left, right = np.split(points[np.argsort(points[:, 0], kind="stable")], 2)
    (top_left, bottom_left), (top_right, bottom_right) = (half[np.argsort(half[:, 1])] for half in (left, right))
    return np.asarray([top_left, top_right, bottom_right, bottom_left], np.float32)


def _as_read(boxes: list[Array]) -> list[Array]:
    """Lines from the top; what is side by side from the left."""
    lines: list[list[Array]] = []
    for box in sorted(boxes, key=lambda box: float(box[:, 1].mean())):
        height = float(np.ptp(box[:, 1]))
        if lines and box[:, 1].mean() - lines[-1][0][:, 1].mean() < _SAME_LINE * height:
            lines[-1].append(box)
        else:
            lines.append([box])
    return [box for line in lines for box in sorted(line, key=lambda box: float(box[:, 0].min()))]


def _size(box: Array) -> tuple[float, float]:
    """Width and height."""
    top_left, top_right, bottom_right, bottom_left = box
    width = max(np.linalg.norm(top_right - top_left), np.linalg.norm(bottom_right - bottom_left))
    height = max(np.linalg.norm(bottom_left - top_left), np.linalg.norm(bottom_right - top_right))
    return float(width), float(height)


def cut_out(pixels: Array, box: Array) -> Array:
    """The pixels ``(h, w, 3)`` in a box, turned so that its text runs from left to right."""
    cv2 = module("cv2")
    width, height = (max(1, round(side)) for side in _size(box))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = cv2.getPerspectiveTransform(np.float32(box), corners)
    options = {"flags": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REPLICATE}
    cut: Array = cv2.warpPerspective(pixels, moved, (width, height), **options)
    return np.rot90(cut) if height >= _UPRIGHT * width else cut
