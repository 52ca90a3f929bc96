"""Fills the tables of the pages from what they describe: options, settings, MXNet's missing names, int8 operators.

    python docs/fill_tables.py

A table stands between ``<!-- table NAME -->`` and the next ``<!-- end -->``; a test compares.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from minidnn.cli import make_parser
from minidnn.missing import MISSING
from minidnn.ops.registry import Op, get_op, list_ops
from minidnn.settings import SETTINGS

PAGES = tuple(Path(__file__).with_name(name) for name in ("command-line.md", "mxnet.md", "quantization.md"))
_TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_DEFAULT = re.compile(r"\s*\(default: (.*)\)$")
_SHORT = {"minidnn.symbol": "mx.sym", "minidnn.numpy": "mx.np", "minidnn": "mx"}


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of every subcommand, by name."""
    (choices,) = (action.choices for action in make_parser()._actions if action.dest == "command")
    return dict(choices or {})


def _rows(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [tuple(heading), *map(tuple, rows)]
    cells.insert(1, ("---",) * len(cells[0]))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def _option(action: argparse.Action) -> tuple[str, str, str]:
    """How an argument is written, its default, and its meaning."""
    words = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,) * bool(action.metavar)
    if action.choices and not action.metavar:
        words = (f"{{{','.join(map(str, action.choices))}}}",)
    names = action.option_strings or [""]
    meaning = (action.help or "") % {"default": action.default}
    stated = _DEFAULT.search(meaning)
    if stated:
        default = stated[1]
    elif action.required:
        default = "required"
    else:
        default = "off" if action.nargs == 0 else "none" if action.default is None else str(action.default)
    shown = ", ".join(" ".join((name, *words)).strip() for name in names)
    return f"`{shown}`", default, _DEFAULT.sub("", meaning)


def _options(parser: argparse.ArgumentParser) -> str:
    actions = [action for action in parser._actions if "--help" not in action.option_strings]
    if not actions:
        return "It has no options.\n"
    return _rows(("argument", "default", "meaning"), map(_option, actions))


def _settings() -> str:
    rows = []
    for setting in SETTINGS:
        stated = _DEFAULT.search(setting.meaning)
        default = stated[1] if stated else "none"
        rows.append((f"`{setting.name}`", default, setting.values, _DEFAULT.sub("", setting.meaning)))
    return _rows(("variable", "default", "values", "meaning"), rows)


def _missing() -> str:
    return _rows(("name", "why it is missing, and what to use"), _reasons())


def _reasons() -> Iterator[tuple[str, str]]:
    """The names of each module that share a reason, and that reason."""
    for module, names in MISSING.items():
        for long, short in _SHORT.items():
            if module.startswith(long):
                module = short + module.removeprefix(long)
                break
        for reason in dict.fromkeys(names.values()):
            same = [name for name, other in names.items() if other == reason]
            yield ", ".join(f"`{module}.{name}`" for name in same), reason


def _int8() -> str:
    rows = [(f"`{name}`", how) for name in list_ops() if (how := _carries_int8(get_op(name)))]
    ways = dict.fromkeys(how for _, how in rows)
    return _rows(
        ("how", "operators"), ((how, ", ".join(sorted(name for name, own in rows if own == how))) for how in ways)
    )


def _carries_int8(op: Op) -> str:
    """What an operator of a float32 graph does with int8; empty if nothing."""
    if op.anchor is not None:
        return "multiplies int8; float32 in its epilogue; stores int8" if op.anchor.integer else ""
    if op.shares_scale:
        return "joins int8 tensors of one scale; not with `calib_mode='none'`"
    if op.table:
        return "gives rows of a table of int8"
    if op.scale_transparent:
        return "does the same with the integers; some by their attributes, such as the kind of pooling or padding"
    if op.int8_in_full_mode:
        return "reads and stores int8 in mode `full`, float32 in registers"
    if op.int8_when_tuned:
        return "the same with `calib_mode='tuned'`, between operations that do; else as in the next row"
    if op.kind == "elementwise" and op.epilogue is not None:
        return "float32 in the epilogue of a product, which stores int8"
    return ""


def filled(page: str) -> str:
    """The page with its tables filled."""
    tables = {"settings": _settings, "missing": _missing, "int8": _int8}
    for name, parser in commands().items():
        tables[f"options_{name}"] = lambda parser=parser: _options(parser)
    return _TABLE.sub(lambda match: f"{match[1]}\n{tables[match[2]]()}\n{match[3]}", page)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
