"""What the tests of the documents share: the folder, code blocks, and a record file of images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from minidnn import recordio

DOCS = Path(__file__).parents[2] / "docs"


def code_blocks(page: str) -> list[str]:
    """The Python of a page, block by block."""
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def write_record(path: Path, images: int, seed: int = 0) -> None:
    """A record file of noise of different sizes, labelled 0, 100, 200, ..."""
    generator = np.random.default_rng(seed)
    with recordio.MXIndexedRecordIO(path.with_suffix(".idx"), path, "w") as record:
        for i in range(images):
            pixels = generator.integers(0, 256, (7 + i % 5, 9, 3), np.uint8).repeat(10, 0).repeat(10, 1)
            record.write_idx(i, recordio.pack_img(recordio.IRHeader(0, i * 100 % 1000, i, 0), pixels))
