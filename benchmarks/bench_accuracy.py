"""int8 beside ONNX Runtime's: how far each is from float32, on EfficientNet-Lite0 with real weights and photos.

Kernels for AVX2 that add pairs of products in int16 (``vpmaddubsw``) saturate there; on a processor with VNNI they
need not, and peers differ less. The figures belong to the processor they were measured on.
"""

from __future__ import annotations

import re
import resource
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers import BatchReader, write_model

import minidnn as mx
from minidnn import engine
from minidnn.contrib.ocr.reader import TextReader
from minidnn.contrib.ocr.reader import _batch as line_batch
from minidnn.contrib.quantization import quantize_net, read_tuning
from minidnn.gluon.model_zoo import text, vision
from tests.accuracy.crops import LABELS, Crops, agreement, make_crops, make_labelled, make_many_crops, run_batches
from tests.accuracy.digits import read_digits
from tests.accuracy.mobile_digits import load_mobile

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is missing: pip install '.[bench]'")

BATCH = 20  # divides the crops of both sets
MODEL = "efficientnet_lite0"


@pytest.fixture(scope="module")
def crops() -> Crops:
    return make_crops()


@pytest.fixture(scope="module")
def fp32(crops: Crops) -> np.ndarray[Any, Any]:
    net = vision.get_model(MODEL, pretrained=True)
    net.optimize_for(mx.np.array(crops.test[:BATCH]))
    return run_batches(net, crops.test, BATCH)


def _ours(crops: Crops, mode: str) -> np.ndarray[Any, Any]:
    net = vision.get_model(MODEL, pretrained=True)
    batches = [mx.np.array(batch) for batch in np.split(crops.calibration, len(crops.calibration) // BATCH)]
    quantized = quantize_net(net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=batches)
    return run_batches(quantized, crops.test, BATCH)


def _onnx_runtimes(crops: Crops, folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """ONNX Runtime's static quantization with a scale for each channel, by its kernels and in float arithmetic."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    net = vision.get_model(MODEL, pretrained=True)
    write_model(net, mx.np.array(crops.test[:BATCH]), folder / "fp32.onnx")
    quant_pre_process(folder / "fp32.onnx", folder / "prepared.onnx")
    levels = onnxruntime.GraphOptimizationLevel
    results = {}
    for weights, reduce_range in (("8-bit weights", False), ("7-bit weights (reduce_range)", True)):
        path = folder / f"int8_{reduce_range}.onnx"
        quantize_static(
            folder / "prepared.onnx",
            path,
            BatchReader(np.split(crops.calibration, len(crops.calibration) // BATCH)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        results[f"ONNX Runtime, {weights}"] = _run_model(path, crops.test, levels.ORT_ENABLE_ALL)
        if not reduce_range:
            results["the same in exact arithmetic"] = _run_model(path, crops.test, levels.ORT_DISABLE_ALL)
    return results


def _nncf(crops: Crops, model: Path) -> dict[str, np.ndarray[Any, Any]]:
    """OpenVINO's quantization, where it is installed."""
    try:
        import nncf
        import openvino
    except ImportError:
        return {}
    batches = np.split(crops.calibration, len(crops.calibration) // BATCH)
    quantized = nncf.quantize(openvino.Core().read_model(model), nncf.Dataset(batches))
    compiled = openvino.compile_model(quantized, "CPU")
    tests = np.split(crops.test, len(crops.test) // BATCH)
    return {"OpenVINO with NNCF": np.concatenate([compiled(batch)[0] for batch in tests])}


def _run_model(path: Path, images: np.ndarray[Any, Any], level: Any) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"data": batch})[0] for batch in np.split(images, len(images) // BATCH)])


def test_int8_beside_onnx_runtime(crops: Crops, fp32: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {f"minidnn, {mode}": _ours(crops, mode) for mode in ("naive", "entropy", "tuned")}
    results |= _onnx_runtimes(crops, tmp_path) | _nncf(crops, tmp_path / "fp32.onnx")
    with capsys.disabled():
        print(f"\n{MODEL}, {len(crops.test)} crops, calibrated on {len(crops.calibration)} others, {_processor()}")
        for name, scores in results.items():
            print(f"{name:44} {agreement(fp32, scores)}")
    ours = agreement(fp32, results["minidnn, naive"])
    assert ours.top1 >= 0.88
    assert ours.sqnr >= 18
    tuned = agreement(fp32, results["minidnn, tuned"])
    assert tuned.top1 >= 0.95
    assert tuned.sqnr >= 26


@pytest.mark.parametrize("number", [0, 1, 2])
def test_int8_on_many_crops(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    crops, photos = make_many_crops((224, 240, 260)[number])
    net = vision.get_model(f"efficientnet_lite{number}", pretrained=True)
    batches = [mx.np.array(batch) for batch in np.split(crops.calibration, len(crops.calibration) // BATCH)]
    wanted = run_batches(net, crops.test, BATCH)
    labelled = [i for i, name in enumerate(photos) if name in LABELS]
    found = {}
    for mode in ("naive", "tuned"):
        made = quantize_net(net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=batches)
        scores = run_batches(made, crops.test, BATCH)
        found[mode] = agreement(wanted, scores)
        right = [sum(s[i].argmax() in LABELS[photos[i]] for i in labelled) for s in (wanted, scores)]
        with capsys.disabled():
            print(
                f"\nEfficientNet-Lite{number}, {len(photos)} crops, {mode}: {found[mode]}; "
                f"of {len(labelled)} labelled crops {right[0]} right in float32, {right[1]} in int8"
            )
    assert found["tuned"].sqnr > found["naive"].sqnr + 3


def test_int8_on_labelled_photos(crops: Crops, capsys: pytest.CaptureFixture[str]) -> None:
    names, photos = make_labelled()
    net = vision.get_model(MODEL, pretrained=True)
    batches = [mx.np.array(batch) for batch in np.split(crops.calibration, len(crops.calibration) // BATCH)]
    tuned = quantize_net(net, calib_mode="tuned", calib_data=batches)
    wanted, got = (run_batches(made, photos, 1).argmax(1) for made in (net, tuned))
    right, kept = ([name for name, c in zip(names, found, strict=True) if c in LABELS[name]] for found in (wanted, got))
    with capsys.disabled():
        print(f"\n{MODEL}, {len(names)} labelled photos: {len(right)} right in float32, {len(kept)} tuned")
        print(f"the same class: {(wanted == got).sum()}; differ: {sorted(set(right) ^ set(kept))}")
    assert len(kept) >= len(right)


def _draw_words(words: Sequence[str]) -> list[Any]:
    """Pictures (H, W, 3), uint8, of words in dark letters of several sizes and fonts."""
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng(0)
    fonts = [font_manager.findfont(name) for name in ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono")]
    pictures = []
    for word in words:
        font = ImageFont.truetype(fonts[random.integers(len(fonts))], int(random.integers(22, 40)))
        left, top, right, bottom = font.getbbox(word)
        size = int(right - left) + 6, int(bottom - top) + 6
        paper, ink = random.integers(190, 256, 3), random.integers(0, 90, 3)
        image = Image.new("RGB", size, tuple(map(int, paper)))
        ImageDraw.Draw(image).text((3 - left, 3 - top), word, font=font, fill=tuple(map(int, ink)))
        noisy = np.asarray(image, np.float32) + random.normal(0, 6, (size[1], size[0], 3))
        pictures.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return pictures


def test_int8_words(capsys: pytest.CaptureFixture[str]) -> None:
    test, others = _sentences()
    words = sorted({word for sentence in [*test, *others] for word in re.findall(r"[A-Za-z]{4,12}", sentence)})
    chosen = [words[i] for i in np.random.default_rng(0).permutation(len(words))[: 2 * WORDS]]
    pictures = [picture[:, :, ::-1] for picture in _draw_words(chosen)]
    reader = TextReader()
    batches = [line_batch(pictures[i : i + 10], 320) for i in range(0, len(pictures), 10)]
    calibration = [mx.np.array(batch) for batch in batches[len(batches) // 2 :]]
    tests = batches[: len(batches) // 2]

    def read(net: Any) -> list[str]:
        # The reader takes some margins for spaces.
        return [reader._decoded(scores)[0].strip() for batch in tests for scores in net(mx.np.array(batch)).asnumpy()]

    wanted = read(reader._read)
    same = {}
    for mode in ("naive", "tuned"):
        made = quantize_net(reader._read, quantize_granularity="channel-wise", calib_mode=mode, calib_data=calibration)
        same[mode] = sum(a == b for a, b in zip(wanted, read(made), strict=True))
        with capsys.disabled():
            right = sum(a == b for a, b in zip(wanted, chosen, strict=False))
            print(f"\n{WORDS} words, {right} read right in float32; {mode}: {same[mode]} are the same strings")
    assert same["tuned"] >= same["naive"]


def test_int8_mobile_digits(capsys: pytest.CaptureFixture[str]) -> None:
    training, test = read_digits()
    data = [mx.np.array(part) for part in np.split(training.images[:1000], 10)]
    net = load_mobile()
    found = {"float32": net}
    for mode in ("naive", "tuned"):
        found[mode] = quantize_net(net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=data)
    right = {
        name: int((run_batches(made, test.images, 100).argmax(1) == test.labels).sum()) for name, made in found.items()
    }
    with capsys.disabled():
        print(f"\nMobileNetV2-like, {len(test)} digits, right: {right}")
    assert right["tuned"] >= right["float32"] - len(test) // 1000


WORDS = 100
SENTENCES = 200  # to compare on
CALIBRATING = 512  # others
TEXT_BATCH = 64


def _split(pages: Iterable[str]) -> list[str]:
    """The sentences of some pages, each once, shuffled the same way every time."""
    found = []
    for page in pages:
        for paragraph in re.split(r"\n\s*\n", page):
            for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
                words = sum(letter.isalpha() or letter == " " for letter in sentence)
                if 12 <= len(sentence) <= 500 and words > 0.75 * len(sentence):
                    found.append(sentence)
    found = list(dict.fromkeys(found))
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


def _sentences() -> tuple[list[str], list[str]]:
    """Sentences to compare on and to calibrate on: of the descriptions of scikit-learn's data sets, and these and the
    pages on Python's language in turns.
    """
    import pydoc_data.topics

    import sklearn.datasets

    paths = sorted((Path(sklearn.datasets.__file__).parent / "descr").glob("*.rst"))
    own = _split(path.read_text("utf-8") for path in paths)
    others = _split(text for _, text in sorted(pydoc_data.topics.topics.items()))
    rest = own[SENTENCES:]
    return own[:SENTENCES], [*rest, *others][:CALIBRATING]


def _inputs(net: Any, sentences: list[str]) -> tuple[Any, Any]:
    tokens = net.tokenize(sentences)
    ids = np.zeros((len(tokens), max(map(len, tokens))), np.int32)
    for row, given in zip(ids, tokens, strict=True):
        row[: len(given)] = given
    return mx.np.array(ids, dtype="int32"), mx.np.array([len(t) for t in tokens], dtype="int32")


def test_int8_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    net = text.get_model("all-MiniLM-L6-v2", pretrained=True)
    test, others = _sentences()
    # Of one length about, so that few tokens are padding, which tuning takes for data.
    others = [others[i] for i in np.argsort([len(tokens) for tokens in net.tokenize(others)], kind="stable")]
    x, data = _inputs(net, test), [_inputs(net, others[i : i + TEXT_BATCH]) for i in range(0, len(others), TEXT_BATCH)]
    wanted = net(*x).asnumpy()
    near = wanted @ wanted.T - 2 * np.eye(SENTENCES)
    pairs = np.triu_indices(SENTENCES - 1, 1)
    order = np.argsort(-near, 1)[:, :-1]
    cosines = {}
    for mode in ("none", "naive", "tuned"):
        made = quantize_net(net, quantize_granularity="channel-wise", calib_mode=mode, calib_data=data)
        got = made(*x).asnumpy()
        cosines[mode] = (got * wanted).sum(1) / np.linalg.norm(got, axis=1)
        found = np.take_along_axis(got @ got.T, order, 1)
        kept = np.mean([(row[pairs[0]] >= row[pairs[1]]).mean() for row in found])
        noise = 10 * np.log10(np.square(wanted).sum() / np.square(got - wanted).sum())
        with capsys.disabled():
            print(
                f"\nMiniLM, {SENTENCES} sentences, {mode}: cosine at least {cosines[mode].min():.4f}, "
                f"mean {cosines[mode].mean():.4f}, SQNR {noise:.1f} dB, pairs of neighbours in order {kept:.3f}"
            )
    assert cosines["tuned"].mean() > max(cosines["none"].mean(), cosines["naive"].mean())


def test_tuning_resnet50(capsys: pytest.CaptureFixture[str]) -> None:
    mx.np.random.seed(0)
    net = vision.get_model("resnet50_v1")
    net.initialize(mx.init.MSRAPrelu())
    random = np.random.default_rng(0)
    data = [mx.np.array(random.standard_normal((16, 3, 224, 224)).astype(np.float32)) for _ in range(4)]
    began, used = time.perf_counter(), time.process_time()
    made = quantize_net(net, calib_mode="tuned", calib_data=data)
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    recipe = read_tuning(made)
    assert recipe is not None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    with capsys.disabled():
        print(f"\nResNet-50, 64 images: {wall:.0f} s, {cpu:.0f} s of CPU time, at most {peak:.2f} GB of this process")
        print(recipe.summary())
    assert recipe.sqnr > recipe.naive


def _processor() -> str:
    info = engine.info()
    return f"{info['cpu']}, {info['isa']}"
