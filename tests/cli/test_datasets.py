"""Data for the command line: image folders and array files, what is read from them, and what is refused."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minidnn import image, recordio
from minidnn.cli import photos
from minidnn.cli.datasets import Preparation, SpreadBatches, open_samples
from minidnn.errors import DataError

PREPARATION = Preparation(8, (0, 0, 0), (1, 2, 4))


def write_images(folder: Path, **colours: tuple[int, int, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, colour in colours.items():
        Image.new("RGB", (9, 12), colour).save(folder / f"{name}.png")


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def read_all(samples: Any) -> np.ndarray[Any, Any]:
    return samples.read(np.arange(len(samples)))


def test_the_classes_of_folders_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_images(tmp_path / "b", one=(4, 4, 4), two=(8, 8, 8))
    write_images(tmp_path / "a", one=(0, 2, 4))
    write_images(tmp_path / ".cache", one=(1, 1, 1))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "c").mkdir()
    samples = open_samples(tmp_path, PREPARATION, labelled=True)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 1]
    pixels = read_all(samples)
    assert (pixels.shape, pixels.dtype) == ((3, 3, 8, 8), np.float32)
    np.testing.assert_array_equal(pixels[:, :, 4, 4], [[0, 1, 1], [4, 2, 1], [8, 4, 2]])
    samples.check_classes(3)
    with pytest.raises(DataError, match=r"3 class folders for a network with 10 classes; .* numbers of the classes"):
        samples.check_classes(10)


def test_folders_named_by_numbers_are_the_classes_of_those_numbers(tmp_path: Path) -> None:
    for name in ("10", "2", "007"):
        write_images(tmp_path / name, only=(int(name),) * 3)
    samples = open_samples(tmp_path, PREPARATION, labelled=True)
    assert samples.labels is not None
    np.testing.assert_array_equal(read_all(samples)[:, 0, 0, 0], samples.labels)
    assert sorted(samples.labels) == [2, 7, 10]
    samples.check_classes(11)
    with pytest.raises(DataError, match="is 10; the network has 10 classes, 0 to 9"):
        samples.check_classes(10)


def test_a_folder_without_classes_serves_where_no_labels_are_needed(tmp_path: Path) -> None:
    write_images(tmp_path, b=(2, 2, 2), a=(1, 1, 1))
    samples = open_samples(tmp_path, PREPARATION, labelled=False)
    assert samples.labels is None
    assert read_all(samples)[:, 0, 0, 0].tolist() == [1, 2]
    with pytest.raises(DataError, match="there are no labels; a folder of images for each class is wanted"):
        open_samples(tmp_path, PREPARATION, labelled=True)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    with pytest.raises(DataError, match="no images, neither in the folder nor in folders one level below"):
        open_samples(tmp_path, PREPARATION, labelled=True)


@pytest.mark.parametrize("kept", [0, 20, 200])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_image_is_refused_by_name(tmp_path: Path, suffix: str, kept: int) -> None:
    path = tmp_path / f"broken.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    samples = open_samples(tmp_path, PREPARATION, labelled=False)
    with pytest.raises(DataError, match=rf"broken\.{suffix}: the image cannot be read: "):
        read_all(samples)


@pytest.mark.parametrize("there", ["PIL", "cv2", "simplejpeg cv2"])
def test_any_decoder_will_do(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    smooth = Image.fromarray(noise).resize((50, 60), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    smooth.save(tmp_path / "b.png")
    samples = open_samples(tmp_path, Preparation(32, (0, 0, 0), (1, 1, 1)), labelled=False)
    wanted = read_all(samples)
    for name in {"PIL", "cv2", "simplejpeg"} - {*there.split()}:
        monkeypatch.setitem(sys.modules, name, None)
    assert np.abs(read_all(samples) - wanted).max() <= 3, "decoders round in different ways"


def test_records_are_read_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    writer = recordio.MXIndexedRecordIO(str(tmp_path / "a.idx"), str(tmp_path / "a.rec"), "w")
    pixels = np.full((20, 24, 3), 128, np.uint8)
    writer.write_idx(0, recordio.pack(recordio.IRHeader(0, 3.0, 0, 0), image.encode(pixels, ".png", 3)))
    writer.close()
    samples = open_samples(tmp_path / "a.rec", PREPARATION, labelled=True)
    np.testing.assert_array_equal(read_all(samples)[:, 0], np.full((1, 8, 8), 128))


@pytest.mark.parametrize(("suffix", "message"), [("png", "pip install 'minidnn"), ("bmp", "pip install pillow")])
def test_without_any_decoder_an_image_folder_says_what_to_install(
    suffix: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (9, 12)).save(tmp_path / f"a.{suffix}")
    samples = open_samples(tmp_path, PREPARATION, labelled=False)
    for name in ("PIL", "cv2", "simplejpeg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"a\.{suffix}: .*{message}"):
        read_all(samples)


@pytest.mark.parametrize(("old", "new"), [((37, 53), (20, 29)), ((37, 54), (80, 111)), ((60, 80), (51, 68))])
def test_images_are_resized_as_pillow_does(old: tuple[int, int], new: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*old, 3), np.uint8)
    wanted = np.asarray(Image.fromarray(pixels).resize(new[::-1], Image.Resampling.BICUBIC), np.int16)
    resized = photos._resize(pixels, new[1], new[0])
    assert np.abs(resized - wanted).max() <= 1
    assert (resized != wanted).mean() < 1e-2


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.float32, bool])
def test_arrays_are_taken_as_they_are(tmp_path: Path, dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 2, (5, 1, 3, 4)).astype(dtype)
    samples = open_samples(write_npz(tmp_path / "a.npz", x=x, y=[4, 3, 2.0, 1, 0]), PREPARATION, labelled=True)
    assert samples.labels is not None
    assert (samples.labels.dtype, samples.labels.tolist()) == (np.int64, [4, 3, 2, 1, 0])
    batch = samples.read(np.array([4, 0, 0]))
    assert (batch.dtype, batch.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(batch, x[[4, 0, 0]].astype(np.float32))
    with pytest.raises(DataError, match="the label of sample 0 is 4; the network has 3 classes, 0 to 2"):
        samples.check_classes(3)


def test_an_npy_file_has_samples_and_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    assert read_all(open_samples(tmp_path / "x.npy", PREPARATION, labelled=False)).tolist() == [[1, 1]] * 3
    with pytest.raises(DataError, match=r"there are no labels; an \.npz file with labels y beside x is wanted"):
        open_samples(tmp_path / "x.npy", PREPARATION, labelled=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.ones((2, 3))}, "an array named x is wanted, and y for the labels; got images"),
        ({}, "an array named x is wanted"),
        ({"x": np.ones((0, 3))}, r"x is to be numbers \(N, \.\.\.\), got float64 \(0, 3\)"),
        ({"x": np.ones(3)}, r"got float64 \(3,\)"),
        ({"x": np.ones((2, 2), complex)}, "got complex128"),
        ({"x": np.array([["a", "b"]])}, "got <U1"),
        ({"x": np.ones((2, 3)), "y": [1]}, "y is to be 2 whole numbers, one for each sample of x"),
        ({"x": np.ones((2, 3)), "y": [[1], [2]]}, r"got int64 \(2, 1\)"),
        ({"x": np.ones((2, 3)), "y": [0.5, 1]}, "whole numbers"),
        ({"x": np.ones((2, 3)), "y": [np.nan, 1]}, "whole numbers"),
        ({"x": np.ones((2, 3)), "y": ["a", "b"]}, "whole numbers"),
    ],
)
def test_arrays_of_the_wrong_name_shape_or_dtype_are_refused(tmp_path: Path, arrays: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_samples(write_npz(tmp_path / "a.npz", **arrays), PREPARATION, labelled=True)


def test_files_that_are_no_array_files_are_refused_by_name(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", x=np.ones((20, 3)))
    whole = path.read_bytes()
    damaged = [b"", b"text", whole[:-30], whole[:100], whole[:60] + b"\0\0\0\0" + whole[64:]]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    damaged.append(path.read_bytes())
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npz: "):
            open_samples(path, PREPARATION, labelled=False)
    with pytest.raises(FileNotFoundError):
        open_samples(tmp_path / "missing.npz", PREPARATION, labelled=False)


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(DataError, match="allow_pickle=False"):
        open_samples(tmp_path / "x.npy", PREPARATION, labelled=False)


@pytest.mark.parametrize(
    ("total", "batch", "count", "wanted"),
    [
        (10, 2, 2, [[0, 3], [6, 9]]),
        (10, 4, 99, [[0, 1, 3, 4], [5, 6, 8, 9]]),
        (3, 8, 2, [[0, 1, 2]]),
        (1, 1, 1, [[0]]),
    ],
)
def test_calibration_takes_full_batches_spread_over_all_samples(
    tmp_path: Path, total: int, batch: int, count: int, wanted: list[list[int]]
) -> None:
    np.save(tmp_path / "x.npy", np.arange(total)[:, None])
    batches = SpreadBatches(open_samples(tmp_path / "x.npy", PREPARATION, labelled=False), batch, count)
    assert len(batches) == len(wanted)
    for _ in range(2):
        assert [x.asnumpy()[:, 0].tolist() for x in batches] == wanted


def write_records(path: Path, *labels: Any) -> Path:
    """Images of one colour, which is the record's number, in a record file."""
    with recordio.MXIndexedRecordIO(path.with_suffix(".idx"), path, "w") as record:
        for i, label in enumerate(labels):
            encoded = io.BytesIO()
            Image.new("RGB", (9, 12), (i, i, i)).save(encoded, "PNG")
            record.write_idx(10 + i, recordio.pack(recordio.IRHeader(0, label, 10 + i, 0), encoded.getvalue()))
    return path


def test_record_files_are_prepared_like_image_files(tmp_path: Path) -> None:
    samples = open_samples(write_records(tmp_path / "val.rec", 7, 3.0, 9), PREPARATION, labelled=True)
    assert samples.labels is not None
    assert samples.labels.tolist() == [7, 3, 9]
    write_images(tmp_path / "images", **{f"i{i}": (i, i, i) for i in range(3)})
    wanted = read_all(open_samples(tmp_path / "images", PREPARATION, labelled=False))
    np.testing.assert_array_equal(read_all(samples), wanted)
    samples.check_classes(10)
    with pytest.raises(DataError, match="the label of sample 2 is 9; the network has 9 classes"):
        samples.check_classes(9)


def test_record_files_that_are_no_pictures_with_a_class_are_refused(tmp_path: Path) -> None:
    wrong = "a class number is wanted for a label, got"
    for labels, message in [
        ((1, 2.5), f"record 1: {wrong} 2.5"),
        ((np.inf,), f"record 0: {wrong} inf"),
        ((), "no rec"),
    ]:
        with pytest.raises(DataError, match=message):
            open_samples(write_records(tmp_path / "wrong.rec", *labels), PREPARATION, labelled=True)
    with pytest.raises(DataError, match="record 0: a class number is wanted"):
        open_samples(write_records(tmp_path / "two.rec", [1, 2]), PREPARATION, labelled=True)
    (tmp_path / "two.idx").unlink()
    with pytest.raises(FileNotFoundError, match=r"two\.idx"):
        open_samples(tmp_path / "two.rec", PREPARATION, labelled=True)
    with recordio.MXIndexedRecordIO(tmp_path / "bad.idx", tmp_path / "bad.rec", "w") as record:
        record.write_idx(0, recordio.pack(recordio.IRHeader(0, 1, 0, 0), b"no picture"))
    with pytest.raises(DataError, match=r"bad\.rec: record 0: the image cannot be read"):
        read_all(open_samples(tmp_path / "bad.rec", PREPARATION, labelled=True))
