"""A profile as a page of HTML: a timeline and a table, with nothing to load and nothing that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["profile_page"]

_WIDTH, _ROW, _AXIS = 1160, 26, 22
_COLOURS = ("#8dd3c7", "#fb8072", "#80b1d3", "#fdb462", "#b3de69", "#bebada", "#fccde5", "#ffed6f", "#bc80bd")
_TICKS = 8
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; max-width: 1400px; }
table { border-collapse: collapse; margin-top: 1.5em; width: 100%; }
th, td { padding: 3px 10px; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: white; border-bottom: 2px solid #999; white-space: nowrap; }
td { white-space: nowrap; }
td.text, th.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; background: #fafafa; }
svg text { font: 11px system-ui, sans-serif; }
.legend span { display: inline-block; margin-right: 1.2em; }
.legend i { display: inline-block; width: 1em; height: 1em; vertical-align: -2px; margin-right: .4em; }
"""


def profile_page(
    profile: Mapping[str, Any],
    summary: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    timeline_note: str = "",
    footnotes: Sequence[str] = (),
) -> str:
    """The page.

    Args:
        profile: as `Profile.to_dict` gives it.
        summary: a sentence about all of it.
        headings: of the table.
        rows: its cells, a row for each of the profile's steps, in order.
        timeline_note: what the timeline shows.
        footnotes: below the table.
    """
    title = escape(profile["title"])
    families = dict.fromkeys(_family(step) for step in profile["steps"])
    colours = {family: _COLOURS[i % len(_COLOURS)] for i, family in enumerate(families)}
    legend = "".join(f'<span><i style="background:{c}"></i>{escape(f)}</span>' for f, c in colours.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"/><title>{title}</title><style>{_STYLE}</style></head>
<body>
<h1>{title}</h1>
<p>{escape(summary)}.</p>
{_timeline(profile, colours)}
<p>{escape(timeline_note)}.</p>
<p class="legend">{legend}</p>
{_table(profile, headings, rows)}
{"".join(f"<p>{escape(note)}.</p>" for note in footnotes)}
</body>
</html>
"""


def _family(step: Mapping[str, Any]) -> str:
    """The loop that runs the step, which gives it its colour."""
    return str(step["kernel"]).partition(":")[0]


def _timeline(profile: Mapping[str, Any], colours: Mapping[str, str]) -> str:
    events = profile["timeline"]
    steps = {step["index"]: step for step in profile["steps"]}
    span = max((event["end_ms"] for event in events), default=0.0) or 1.0
    rows = 1 + max((event["thread"] for event in events), default=0)
    height = rows * _ROW + _AXIS
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="timeline">']
    for i in range(_TICKS + 1):
        x = i * _WIDTH / _TICKS
        anchor = "start" if i == 0 else "end" if i == _TICKS else "middle"
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{rows * _ROW}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="{anchor}">{span * i / _TICKS:.2f} ms</text>')
    for event in events:
        step = steps[event["step"]]
        x, end = (event[key] / span * _WIDTH for key in ("begin_ms", "end_ms"))
        said = f"{step['index']} {step['name']}: {event['end_ms'] - event['begin_ms']:.3f} ms, {step['kernel']}"
        parts.append(
            f'<rect x="{x:.2f}" y="{event["thread"] * _ROW + 2}" width="{max(end - x, 0.3):.2f}" '
            f'height="{_ROW - 4}" fill="{colours[_family(step)]}" stroke="#666" stroke-width="0.3">'
            f"<title>{escape(said)}</title></rect>"
        )
        if end - x > 30:
            parts.append(f'<text x="{x + 4:.1f}" y="{event["thread"] * _ROW + 17}">{step["index"]}</text>')
    return "\n".join([*parts, "</svg>"])


def _table(profile: Mapping[str, Any], headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = [heading in ("name", "kernel", "shape") for heading in headings]

    def cell(tag: str, number: int, content: str, style: str = "") -> str:
        kind = ' class="text"' if text[number] else ""
        return f"<{tag}{kind}{style}>{escape(content)}</{tag}>"

    lines = ["<table>", f"<tr>{''.join(cell('th', i, heading) for i, heading in enumerate(headings))}</tr>"]
    for step, row in zip(profile["steps"], rows, strict=True):
        filled = f"{100 * step['share']:.1f}%"
        bar = f' style="background:linear-gradient(to left, #cfe3f3 {filled}, transparent {filled})"'
        cells = [cell("td", i, c, bar if i == len(row) - 1 else "") for i, c in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>"])
