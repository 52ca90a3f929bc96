"""``minidnn profile MODEL``: where the time of an inference goes, step by step."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import minidnn as mx
from minidnn.cli.arguments import add_threads, positive, use_threads
from minidnn.cli.console import make_console, make_progress
from minidnn.cli.networks import (
    add_shape,
    add_source,
    is_quantized,
    kind_of,
    load_any_weights,
    make_bf16,
    make_inputs,
    make_int8,
)
from minidnn.cli.timing import inference
from minidnn.errors import DataError

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

    from minidnn.profiler import Profile

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "show where the time of an inference goes, step by step"
DESCRIPTION = (
    "Run a network on random numbers and time each step of its program by itself: the kernel, the shape of what it "
    "makes, the time, arithmetic or bytes a second, and how near that comes to what this machine can do, which is "
    "measured too. A network of the zoo has random weights unless --params gives others."
)
_WARMUP = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="samples at a time (default: 1)")
    parser.add_argument("--rounds", type=positive, default=20, metavar="N", help="rounds (default: 20)")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--int8", action="store_true", help="quantize it first, calibrated on the random numbers")
    kinds.add_argument("--bf16", action="store_true", help="give it weights in bfloat16 first")
    parser.add_argument("--sort", action="store_true", help="the slowest step first, instead of the order they run in")
    parser.add_argument(
        "--format",
        choices=("text", "json", "html"),
        default="text",
        help="a table, everything as JSON, or a page with the timeline (default: text)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write (default: standard output)")
    add_shape(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    use_threads(arguments)
    source = arguments.model
    wanted = "int8" if arguments.int8 else "bf16" if arguments.bf16 else ""
    if wanted and is_quantized(source):
        raise DataError(f"{source.file}: the network is quantized already; leave --{wanted} out")
    net = load_any_weights(source, arguments.params, arguments.key)
    data = make_inputs(source, arguments)
    with make_progress() as progress:
        task = progress.add_task(f"{source.name}: compiling", total=arguments.rounds + _WARMUP)
        net = _compile(net, data, wanted)
        title = f"{source.name}, {wanted or kind_of(source)}, batch {arguments.batch}, {mx.get_num_threads()} threads"
        with mx.profiler.profile(title) as profile:
            for number in range(_WARMUP + arguments.rounds):
                inference(net, *data)()
                progress.advance(task)
                if number + 1 == _WARMUP:
                    profile.clear()
    _write(profile, arguments)
    return 0


def _compile(net: Any, data: tuple[Any, ...], wanted: str) -> Any:
    if wanted:
        net = make_bf16(net, data) if wanted == "bf16" else make_int8(net, [data if len(data) > 1 else data[0]])
        net.hybridize()
        net(*data)
    else:
        net.optimize_for(*data)
    return net


def _write(profile: Profile, arguments: argparse.Namespace) -> None:
    console = make_console()
    if arguments.format == "text" and arguments.output is None and console.is_terminal:
        console.print(_table(profile, arguments.sort, console.width))
        for line in (*profile.footnotes(), profile.summary):
            console.print(line, soft_wrap=True, highlight=False, markup=False)
        return
    make = {"text": profile.format, "json": profile.to_json, "html": profile.to_html}[arguments.format]
    text = make(arguments.sort).rstrip("\n") + "\n"
    if arguments.output is None:
        print(text, end="")
    else:
        arguments.output.write_text(text, encoding="utf-8")
        print(f"{arguments.output}: {len(profile.steps())} steps")


def _table(profile: Profile, sort: bool, columns: int) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(profile.title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    rows = [step.row for step in profile.steps(sort)]
    columns_of_cells = zip(profile.HEADINGS, *rows, strict=True)
    widths = {cells[0]: max(map(len, cells)) for cells in columns_of_cells}
    # Where the terminal is narrow, long names are cut, and numbers never.
    room = columns - sum(width + 2 for heading, width in widths.items() if heading not in ("name", "kernel")) - 6
    widths["name"] = max(8, min(widths["name"], room // 2))
    widths["kernel"] = max(8, min(widths["kernel"], room - widths["name"]))
    for heading, width in widths.items():
        justify: JustifyMethod = "left" if heading in profile.TEXT_COLUMNS else "right"
        table.add_column(heading, justify=justify, overflow="ellipsis", no_wrap=True, width=width)
    for row in rows:
        table.add_row(*map(escape, row))
    return table
