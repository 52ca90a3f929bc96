"""A picture as SVG, drawn without Graphviz. The same graph gives the same bytes again."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

from minidnn.untrusted import printable
from minidnn.viz.layout import Point, lay_out
from minidnn.viz.picture import Arrow, Box, Picture

__all__ = ["draw_page", "draw_svg"]

_FONT, _SMALL_FONT, _TITLE_FONT = 13, 11, 17
_LINE = 17
_PADDING_X, _PADDING_Y = 12, 8
_MARGIN = 20
# Advance of a character in ems: a little more than sans-serif fonts need on average, so that any of them fits.
_ADVANCE, _BOLD_ADVANCE = 0.58, 0.64


def draw_svg(picture: Picture, title: str = "") -> str:
    """The picture as an SVG document.

    Args:
        picture: what to draw.
        title: what stands above it.
    """
    sizes = [_box_size(box) for box in picture.boxes]
    labels = [(_width(a.label, _SMALL_FONT) + 6, _SMALL_FONT + 5.0) if a.label else None for a in picture.arrows]
    layout = lay_out(sizes, [(a.source, a.reader) for a in picture.arrows], labels)
    head = _TITLE_FONT + 18 if title else 0
    foot = 34 if picture.legend else 0
    legend_width = sum(_width(dtype, _FONT) + 60 for dtype, _ in picture.legend)
    inner = max(layout.width, legend_width, _width(title, _TITLE_FONT, bold=True))
    left, top = _MARGIN + (inner - layout.width) / 2, _MARGIN + head
    width, height = inner + 2 * _MARGIN, layout.height + 2 * _MARGIN + head + foot
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" '
        f'height="{_n(height)}" font-family="Helvetica, Arial, sans-serif" font-size="{_FONT}">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    if title:
        parts += [
            f"<title>{_text(title)}</title>",
            f'<text x="{_n(width / 2)}" y="{_MARGIN + _TITLE_FONT}" text-anchor="middle" font-weight="bold" '
            f'font-size="{_TITLE_FONT}">{_text(title)}</text>',
        ]
    parts += ["<defs>", *_heads(picture), "</defs>", f'<g transform="translate({_n(left)} {_n(top)})">']
    parts += [_draw_arrow(a, route) for a, route in zip(picture.arrows, layout.routes, strict=True)]
    parts += [_draw_label(a, at) for a, at in zip(picture.arrows, layout.labels, strict=True) if at is not None]
    parts += [_draw_box(box, at, size) for box, at, size in zip(picture.boxes, layout.boxes, sizes, strict=True)]
    parts.append("</g>")
    if picture.legend:
        parts.append(_draw_legend(picture, (width - legend_width) / 2, height - _MARGIN))
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_page(picture: Picture, title: str) -> str:
    """The picture as a page of HTML with nothing to load."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n'
        f'<head><meta charset="utf-8"/><title>{_text(title)}</title></head>\n'
        f'<body style="margin: 0; overflow: auto; text-align: center">\n{draw_svg(picture, title)}</body>\n</html>\n'
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    return escape(printable(text))


def _width(text: str, size: float, bold: bool = False) -> float:
    advance = _BOLD_ADVANCE if bold else _ADVANCE
    return sum(1.0 if unicodedata.east_asian_width(c) in "WF" else advance for c in text) * size


def _box_size(box: Box) -> tuple[float, float]:
    wide = max([_width(box.lines[0], _FONT, bold=True), *(_width(line, _FONT) for line in box.lines[1:])])
    round_ends = 16 if box.is_variable else 0
    gap = 6 if len(box.lines) > 1 else 0
    return wide + 2 * _PADDING_X + round_ends, len(box.lines) * _LINE + 2 * _PADDING_Y + gap


def _draw_box(box: Box, at: Point, size: tuple[float, float]) -> str:
    (x, y), (wide, high) = at, size
    left, top = x - wide / 2, y - high / 2
    known = "" if box.dtype is None else f": {box.dtype}"
    corner = high / 2 if box.is_variable else 4
    parts = [
        f'<g class="{"variable" if box.is_variable else "operation"}"><title>{_text(box.name)}{known}</title>',
        f'<rect x="{_n(left)}" y="{_n(top)}" width="{_n(wide)}" height="{_n(high)}" rx="{_n(corner)}" '
        f'fill="{box.fill}" stroke="{box.outline}" stroke-width="2"/>',
    ]
    baseline = top + _PADDING_Y + _FONT
    for i, line in enumerate(box.lines):
        weight = ' font-weight="bold"' if i == 0 else ""
        parts.append(f'<text x="{_n(x)}" y="{_n(baseline)}" text-anchor="middle"{weight}>{_text(line)}</text>')
        baseline += _LINE
        if i == 0 and len(box.lines) > 1:
            rule = baseline - _FONT + 1
            parts.append(
                f'<line x1="{_n(left)}" x2="{_n(left + wide)}" y1="{_n(rule)}" y2="{_n(rule)}" stroke="{box.outline}"/>'
            )
            baseline += 6
    return "\n".join([*parts, "</g>"])


def _heads(picture: Picture) -> list[str]:
    colours = dict.fromkeys(arrow.colour for arrow in picture.arrows)
    return [
        f'<marker id="{_head(colour)}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        f'orient="auto"><path d="M1 1 L9 5 L1 9" fill="none" stroke="{colour}" stroke-width="1.6"/></marker>'
        for colour in colours
    ]


def _head(colour: str) -> str:
    return f"head-{colour.removeprefix('#')}"


def _draw_arrow(arrow: Arrow, route: Sequence[Point]) -> str:
    """Straight through layers, and from one layer to the next along curves that begin and end upright."""
    (x, y), *rest = route
    path = f"M{_n(x)} {_n(y)}"
    for to_x, to_y in rest:
        middle = (y + to_y) / 2
        if abs(x - to_x) < 0.05:
            path += f" L{_n(to_x)} {_n(to_y)}"
        else:
            path += f" C{_n(x)} {_n(middle)} {_n(to_x)} {_n(middle)} {_n(to_x)} {_n(to_y)}"
        x, y = to_x, to_y
    return (
        f'<path class="arrow" data-from="{arrow.source}" data-to="{arrow.reader}" d="{path}" fill="none" '
        f'stroke="{arrow.colour}" stroke-width="1.6" marker-end="url(#{_head(arrow.colour)})"/>'
    )


def _draw_label(arrow: Arrow, at: Point) -> str:
    wide, high = _width(arrow.label, _SMALL_FONT) + 6, _SMALL_FONT + 5
    x, y = at
    return (
        f'<rect x="{_n(x - wide / 2)}" y="{_n(y - high / 2)}" width="{_n(wide)}" height="{high}" fill="white"/>'
        f'<text x="{_n(x)}" y="{_n(y + _SMALL_FONT * 0.36)}" text-anchor="middle" font-size="{_SMALL_FONT}" '
        f'fill="{arrow.colour}">{_text(arrow.label)}</text>'
    )


def _draw_legend(picture: Picture, x: float, y: float) -> str:
    parts = ['<g class="legend">']
    for dtype, colour in picture.legend:
        parts.append(
            f'<line x1="{_n(x)}" x2="{_n(x + 28)}" y1="{_n(y - 5)}" y2="{_n(y - 5)}" stroke="{colour}" '
            f'stroke-width="3"/><text x="{_n(x + 34)}" y="{_n(y)}" fill="{colour}">{_text(dtype)}</text>'
        )
        x += _width(dtype, _FONT) + 60
    return "\n".join([*parts, "</g>"])
