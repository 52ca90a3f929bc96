"""Feeding: pictures from a record file, decoded, resized, cropped and normalized, and a network that eats them.

The photos are those of scikit-image and scikit-learn, cut to 500 x 375 pixels and encoded as JPEG: such pictures are
in ImageNet's record files. A round is an epoch.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import minidnn as mx
from minidnn import recordio
from minidnn.cli.timing import Timing
from minidnn.contrib.quantization import quantize_net
from minidnn.gluon.data import DataLoader
from minidnn.gluon.data.vision import ImageRecordDataset, transforms
from minidnn.gluon.model_zoo import vision
from tests.accuracy.crops import read_photos

WORKERS = 2
BATCH = 16
PICTURES = 12 * BATCH
WIDTH, HEIGHT = 500, 375
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

TRANSFORM = transforms.Compose(
    [
        transforms.Resize(256, keep_ratio=True),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
)


def _photo(source: Image.Image, random: np.random.Generator) -> bytes:
    """A part of the photo of the wanted shape, scaled, as JPEG."""
    scale = random.uniform(0.6, 1.0) * min(source.width / WIDTH, source.height / HEIGHT)
    wide, high = int(WIDTH * scale), int(HEIGHT * scale)
    left, top = random.integers(source.width - wide + 1), random.integers(source.height - high + 1)
    part = source.crop((left, top, left + wide, top + high)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    memory = io.BytesIO()
    part.save(memory, "JPEG", quality=90)
    return memory.getvalue()


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    photos = read_photos()
    path = tmp_path_factory.mktemp("record") / "photos.rec"
    writer = recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "w")
    for i in range(PICTURES):
        header = recordio.IRHeader(0, float(i % 10), i, 0)
        writer.write_idx(i, recordio.pack(header, _photo(photos[i % len(photos)], random)))
    writer.close()
    return path


def _loader(record: Path, threads: bool) -> DataLoader:
    data = ImageRecordDataset(str(record)).transform_first(TRANSFORM)
    return DataLoader(data, BATCH, num_workers=WORKERS, thread_pool=threads)


def _pillow(record: Path) -> Callable[[], None]:
    """The same by Pillow and NumPy, one picture after the other."""
    reader = recordio.MXIndexedRecordIO(str(record.with_suffix(".idx")), str(record), "r")
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    short, left, top = 256, (341 - 224) // 2, (256 - 224) // 2

    def picture(key: int) -> np.ndarray[Any, Any]:
        _, encoded = recordio.unpack(reader.read_idx(key))
        whole = Image.open(io.BytesIO(encoded)).convert("RGB")
        small = whole.resize((short * WIDTH // HEIGHT, short), Image.Resampling.BILINEAR)
        crop = np.asarray(small.crop((left, top, left + 224, top + 224)), np.float32) / 255
        return ((crop - mean) / std).transpose(2, 0, 1)

    def epoch() -> None:
        for start in range(0, PICTURES, BATCH):
            np.stack([picture(key) for key in range(start, start + BATCH)])

    return epoch


def _decoded_by_pillow(record: Path) -> Callable[[], None]:
    """Nothing but decoding, by Pillow."""
    reader = recordio.MXIndexedRecordIO(str(record.with_suffix(".idx")), str(record), "r")

    def epoch() -> None:
        for key in range(PICTURES):
            np.asarray(Image.open(io.BytesIO(recordio.unpack(reader.read_idx(key))[1])).convert("RGB"))

    return epoch


def _exhaust(loader: DataLoader) -> None:
    for data, _ in loader:
        data.wait_to_read()


def _rate(timings: dict[str, Timing]) -> str:
    return ", ".join(f"{name} {PICTURES / t.minimum_ms * 1e3:.0f}/s" for name, t in timings.items())


def test_loader_beside_pillow(take_turns: Any, record: Path) -> None:
    loaders = {f"{kind} of two": _loader(record, kind == "threads") for kind in ("threads", "processes")}
    candidates: dict[str, Callable[[], object]] = {
        name: lambda loader=loader: _exhaust(loader) for name, loader in loaders.items()
    }
    candidates |= {"Pillow": _pillow(record), "Pillow, decoding alone": _decoded_by_pillow(record)}
    take_turns(candidates, rounds=7, note=_rate)
    for loader in loaders.values():
        loader.close()


@pytest.mark.parametrize("threads", [True, False], ids=["threads", "processes"])
def test_int8_network_fed(take_turns: Any, record: Path, threads: bool) -> None:
    loader = _loader(record, threads)
    batches = [data for data, _ in loader]
    net = vision.get_model("resnet50_v1")
    net.initialize(mx.init.Xavier(rnd_type="gaussian"))
    net(batches[0])
    quantized = quantize_net(net, calib_mode="naive", calib_data=batches[:1])
    quantized.hybridize(static_alloc=True, static_shape=True)

    def fed() -> None:
        for data, _ in loader:
            quantized(data).wait_to_read()

    def in_memory() -> None:
        for data in batches:
            quantized(data).wait_to_read()

    take_turns({"fed": fed, "in memory": in_memory}, rounds=7, note=_rate)
    loader.close()
