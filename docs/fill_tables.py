"""Fills the tables of the pages from what they describe: options of commands, settings, MXNet's missing names.

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
from minidnn.settings import SETTINGS

PAGES = tuple(Path(__file__).with_name(name) for name in ("command-line.md", "mxnet.md"))
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


def filled(page: str) -> str:
    """The page with its tables filled."""
    tables = {"settings": _settings, "missing": _missing}
    for name, parser in commands().items():
        tables[f"options_{name}"] = lambda parser=parser: _options(parser)
    return _TABLE.sub(lambda match: f"{match[1]}\n{tables[match[2]]()}\n{match[3]}", page)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
