"""``minidnn im2rec``: pack a folder of images into a record file that `ImageRecordDataset` and MXNet read."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import minidnn.image as image
from minidnn.cli.arguments import positive
from minidnn.cli.console import make_progress
from minidnn.errors import DataError
from minidnn.gluon.data.vision.pictures import list_folder, read_list
from minidnn.recordio import IRHeader, MXIndexedRecordIO, pack

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "pack images into a record file"
DESCRIPTION = (
    "Write PREFIX.rec and its index PREFIX.idx from the images under ROOT. Which, and with which labels, stands in "
    "PREFIX.lst: lines of an index, labels and a path under ROOT, with tabs between. Where there is no such list, it "
    "is made first: each folder in ROOT is a class, numbered by the order of the names."
)
_ROUNDING = 1e-9  # of shares that are 1 together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prefix", metavar="PREFIX", type=Path, help="the files' path without .lst, .rec and .idx")
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder of the images")
    parser.add_argument("--list", action="store_true", help="make the list, even if there is one, and no record file")
    parser.add_argument("--no-shuffle", action="store_true", help="list the images in their order, not at random")
    parser.add_argument("--seed", type=int, default=100, metavar="N", help="of the random order (default: %(default)s)")
    parser.add_argument(
        "--train-ratio",
        type=_share,
        metavar="R",
        default=1.0,
        help="share of the images for PREFIX_train; the rest is PREFIX_val (default: all, as PREFIX)",
    )
    parser.add_argument(
        "--test-ratio",
        type=_share,
        metavar="R",
        default=0.0,
        help="share of the images for PREFIX_test (default: none)",
    )
    parser.add_argument(
        "--resize", type=positive, metavar="N", help="resize the shorter side to N pixels (default: keep the files)"
    )
    parser.add_argument(
        "--quality",
        type=int,
        choices=range(1, 101),
        metavar="1..100",
        default=95,
        help="of JPEG, where images are encoded again (default: %(default)s)",
    )
    parser.add_argument("--center-crop", action="store_true", help="cut the middle out as a square, before resizing")
    parser.add_argument("--encoding", choices=(".jpg", ".png"), help="encode them again (default: keep the files)")
    parser.add_argument(
        "--color",
        type=int,
        choices=(0, 1),
        help="encode them again, in grey (0) or colour (1) (default: keep the files)",
    )
    parser.add_argument("--skip-broken", action="store_true", help="leave out what cannot be read, and say so")
    for flag in ("--recursive", "--pass-through", "--pack-label"):
        parser.add_argument(flag, action="store_true", help="accepted for compatibility with MXNet: always on")
    parser.add_argument(
        "--num-thread", type=positive, metavar="N", help="accepted for compatibility with MXNet: no effect"
    )


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError
    return share


def run(arguments: argparse.Namespace) -> int:
    if not arguments.root.is_dir():
        raise NotADirectoryError(f"{arguments.root} is no folder")
    if arguments.train_ratio + arguments.test_ratio > 1 + _ROUNDING:
        raise DataError("--train-ratio and --test-ratio are more than 1 together")
    listings = [Path(f"{arguments.prefix}{part}.lst") for part in _parts(arguments)]
    if arguments.list or not all(listing.exists() for listing in listings):
        _write_lists(listings, arguments)
    if not arguments.list:
        for listing in listings:
            _pack(listing, arguments)
    return 0


def _parts(arguments: argparse.Namespace) -> dict[str, float]:
    """What the lists' names end with, and their shares of the images."""
    train, test = arguments.train_ratio, arguments.test_ratio
    if train == 1:
        return {"": 1.0}
    # A list of a part that gets nothing is not made.
    shares = {"_test": test, "_train": train, "_val": 1 - train - test}
    return {part: share for part, share in shares.items() if share > _ROUNDING}


def _write_lists(listings: list[Path], arguments: argparse.Namespace) -> None:
    import random

    synsets, items = list_folder(arguments.root)
    if not items:
        raise DataError(f"{arguments.root}: no folder in it has a JPEG or PNG file")
    if not arguments.no_shuffle:
        random.Random(arguments.seed).shuffle(items)
    names = [os.path.relpath(path, arguments.root) for path, _ in items]
    for name in names:
        if "\t" in name or "\n" in name or "\r" in name:
            raise DataError(f"a list cannot hold the name {name!r}: rename the file")
    lines = [f"{i}\t{label:f}\t{name}\n" for i, (name, (_, label)) in enumerate(zip(names, items, strict=True))]
    start, share = 0, 0.0
    for listing, part in zip(listings, _parts(arguments).values(), strict=True):
        share += part
        end = len(lines) if listing == listings[-1] else round(share * len(lines))
        with listing.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.writelines(lines[start:end])
        print(f"{listing}: {end - start} images of {len(synsets)} classes")
        start = end
    for label, synset in enumerate(synsets):
        print(f"{label:6d} {synset}")


def _pack(listing: Path, arguments: argparse.Namespace) -> None:
    entries = read_list(listing)
    finals = [listing.with_name(listing.name.removesuffix(".lst") + suffix) for suffix in (".idx", ".rec")]
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
    print(f"{finals[1]}: {len(entries) - skipped} records" + (f", {skipped} images skipped" if skipped else ""))


def _encoded(path: Path, arguments: argparse.Namespace) -> bytes:
    """The bytes for a record: the file as it is once it is known to decode, or the image resized."""
    try:
        data = image.read_encoded(path)
        image.decode(data)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if not (arguments.resize or arguments.center_crop or arguments.encoding or arguments.color is not None):
        return data
    pixels = image.decode(data, 1 if arguments.color is None else arguments.color)
    if arguments.center_crop:
        height, width = pixels.shape[:2]
        top, left, side = max(0, height - width) // 2, max(0, width - height) // 2, min(height, width)
        pixels = pixels[top : top + side, left : left + side]
    if arguments.resize:
        pixels = image.resize(pixels, *image.short_size(pixels.shape[0], pixels.shape[1], arguments.resize))
    encoding = arguments.encoding or ".jpg"
    # The compression of PNG, at OpenCV's usual 3, costs nothing but time: the quality is for JPEG.
    return image.encode(pixels[:, :, ::-1], encoding, arguments.quality if encoding == ".jpg" else 3)
