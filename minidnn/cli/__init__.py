"""The command ``minidnn``: one module a subcommand, and this table of them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from minidnn.cli import accuracy, bench, demo, embed, im2rec, info, profile, quantize, read, viz
from minidnn.engine import check_settings
from minidnn.errors import MXNetError
from minidnn.formats import version

__all__ = ["COMMANDS", "main", "make_parser"]

# Each has SUMMARY, DESCRIPTION, add_arguments(parser) and run(arguments) -> exit code; run imports what is heavy.
COMMANDS = {
    "demo": demo,
    "embed": embed,
    "read": read,
    "bench": bench,
    "accuracy": accuracy,
    "quantize": quantize,
    "viz": viz,
    "profile": profile,
    "im2rec": im2rec,
    "info": info,
}


def make_parser() -> argparse.ArgumentParser:
    """Of all command lines; the subcommands are its argument `command`."""
    parser = argparse.ArgumentParser(
        prog="minidnn",
        description="Fast CPU inference from plain Python: Gluon's API on a fusing compiler.",
        epilog="'minidnn COMMAND --help' says more of a command.",
    )
    parser.add_argument("--version", action="version", version=f"minidnn {version()}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.SUMMARY, description=module.DESCRIPTION)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: the arguments behind the program's name; None: those of this process.

    Returns:
        The exit code: 0 done, 1 an error (told on standard error), 130 interrupted. Arguments that do not fit exit
        with 2, as argparse does.
    """
    arguments = make_parser().parse_args(argv)
    try:
        check_settings()
        return int(arguments.run(arguments))
    except (MXNetError, ImportError, OSError) as error:
        print(f"minidnn: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minidnn: interrupted", file=sys.stderr)
        return 130
