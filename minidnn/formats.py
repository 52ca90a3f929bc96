"""Which minidnn wrote a file, and in which format: noted in exported graphs and files of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from minidnn.errors import DataError

__all__ = ["FORMAT", "FORMAT_KEY", "NOTE_KEY", "VERSION_KEY", "check_format", "note", "read_note", "version"]

# Goes up when a reader of the one before would misread a file.
FORMAT = 1
FORMAT_KEY, VERSION_KEY = "minidnn_format", "minidnn_version"
# Where a file holds one text about itself, both stand in it.
NOTE_KEY = "minidnn"


@cache
def version() -> str:
    """The version of this minidnn; ``unknown`` where it runs from a folder and was never installed."""
    from importlib import metadata  # it takes longer than all of this module

    try:
        return metadata.version("minidnn")
    except metadata.PackageNotFoundError:
        return "unknown"


def note() -> str:
    """Format and version as one text; `read_note` reads it."""
    return f"format {FORMAT}, version {version()}"


def read_note(text: Any) -> dict[str, str]:
    """What `note` wrote: the format and the version by `FORMAT_KEY` and `VERSION_KEY`; nothing of None."""
    if text is None:
        return {}
    format_, _, written = str(text)[:80].removeprefix("format ").partition(", version ")
    return {FORMAT_KEY: format_, VERSION_KEY: written}


def check_format(notes: Mapping[str, Any], where: str) -> None:
    """Look at what a file says of its format. A file that says nothing is of another program, or older.

    Args:
        notes: has its format and its writer's version, perhaps, under `FORMAT_KEY` and `VERSION_KEY`; numbers as such
            or as texts.
        where: what an error calls the file.

    Raises:
        DataError: a newer format than this minidnn reads, or none that can be.
    """
    noted = notes.get(FORMAT_KEY)
    if noted is None:
        return
    text = str(noted)[:20] if type(noted) in (int, str) else ""
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise DataError(f"{where}: {FORMAT_KEY} must be a number from 1 on, got {str(noted)[:40]!a}")
    if int(text) > FORMAT:
        writer = str(notes.get(VERSION_KEY, "unknown"))[:40]
        raise DataError(
            f"{where}: written in format {text} by minidnn {writer!a}; this is minidnn {version()}, which reads "
            f"formats up to {FORMAT}: install a newer minidnn, or export the network with this one"
        )
