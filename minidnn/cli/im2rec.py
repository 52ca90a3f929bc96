"""``minidnn im2rec``: pack a folder of pictures into a record file that `ImageRecordDataset` and MXNet read."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from minidnn.cli.arguments import positive
from minidnn.cli.console import make_progress
from minidnn.errors import DataError

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "pack pictures into a record file"
DESCRIPTION = (
    "Write PREFIX.rec and its index PREFIX.idx from the pictures under ROOT. Which, and with which labels, stands in "
    "PREFIX.lst: lines of an index, labels and a path under ROOT, with tabs between. Where there is no such list, it "
    "is made first: each folder in ROOT is a class, numbered by the order of the names."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prefix", metavar="PREFIX", type=Path, help="the files' path without .lst, .rec and .idx")
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder of the pictures")
    parser.add_argument("--list", action="store_true", help="make the list, even if there is one, and no record file")
    parser.add_argument("--no-shuffle", action="store_true", help="list the pictures in their order, not at random")
    parser.add_argument("--seed", type=int, default=100, help="of the random order (default: %(default)s)")
    parser.add_argument("--resize", type=positive, metavar="N", help="of the shorter side (default: keep the files)")
    parser.add_argument("--quality", type=int, choices=range(1, 101), metavar="1..100", default=95)
    parser.add_argument("--skip-broken", action="store_true", help="leave out what cannot be read, and say so")


def run(arguments: argparse.Namespace) -> int:
    listing = Path(f"{arguments.prefix}.lst")
    if not arguments.root.is_dir():
        raise NotADirectoryError(f"{arguments.root} is no folder")
    if arguments.list or not listing.exists():
        _write_list(listing, arguments)
    return 0 if arguments.list else _pack(listing, arguments)


def _write_list(listing: Path, arguments: argparse.Namespace) -> None:
    import random

    from minidnn.gluon.data.vision.pictures import list_folder

    synsets, items = list_folder(arguments.root)
    if not items:
        raise DataError(f"{arguments.root}: no folder in it has a JPEG or PNG file")
    if not arguments.no_shuffle:
        random.Random(arguments.seed).shuffle(items)
    names = [os.path.relpath(path, arguments.root) for path, _ in items]
    for name in names:
        if "\t" in name or "\n" in name or "\r" in name:
            raise DataError(f"a list cannot hold the name {name!r}: rename the file")
    with listing.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for index, (name, (_, label)) in enumerate(zip(names, items, strict=True)):
            file.write(f"{index}\t{label:f}\t{name}\n")
    print(f"{listing}: {len(items)} pictures of {len(synsets)} classes")
    for label, synset in enumerate(synsets):
        print(f"{label:6d} {synset}")


def _pack(listing: Path, arguments: argparse.Namespace) -> int:
    from minidnn.gluon.data.vision.pictures import read_list
    from minidnn.recordio import IRHeader, MXIndexedRecordIO, pack

    entries = read_list(listing)
    finals = [Path(f"{arguments.prefix}{suffix}") for suffix in (".idx", ".rec")]
    # Under other names until they are complete, so that nobody takes half a file for a whole one.
    parts = [path.with_name(f"{path.name}.part") for path in finals]
    skipped = 0
    try:
        with MXIndexedRecordIO(parts[0], parts[1], "w") as record, make_progress() as progress:
            for key, labels, name in progress.track(entries, description="Packing"):
                try:
                    encoded = _encoded(arguments.root / name, arguments)
                except (DataError, OSError) as error:
                    if not arguments.skip_broken:
                        raise
                    print(f"minidnn: skipped: {error}", file=sys.stderr)
                    skipped += 1
                    continue
                label: Any = labels[0] if len(labels) == 1 else labels
                record.write_idx(key, pack(IRHeader(0, label, key, 0), encoded))
        for part, final in zip(parts, finals, strict=True):
            part.replace(final)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    print(f"{finals[1]}: {len(entries) - skipped} records" + (f", {skipped} pictures skipped" if skipped else ""))
    return 0


def _encoded(path: Path, arguments: argparse.Namespace) -> bytes:
    """The bytes for a record: the file as it is once it is known to decode, or the picture resized."""
    from minidnn import image

    data = path.read_bytes()
    try:
        pixels = image.decode(data)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if arguments.resize is None:
        return data
    width, height = image.short_size(pixels.shape[0], pixels.shape[1], arguments.resize)
    return image.encode(image.resize(pixels, width, height)[:, :, ::-1], ".jpg", arguments.quality)
