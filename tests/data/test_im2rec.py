"""``minidnn im2rec``: from a folder to a record file that the data set reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_helpers import smooth_picture
from PIL import Image

from minidnn.cli import main
from minidnn.gluon.data.vision import ImageRecordDataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i, name in enumerate(("dog/1.jpg", "dog/2.png", "cat/ä 3.jpg")):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth_picture(20 + i, 30)).save(path)
    return tmp_path / "root"


def test_a_folder_becomes_a_record_file(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["im2rec", str(tmp_path / "pets"), str(root), "--no-shuffle"]) == 0
    assert (tmp_path / "pets.lst").read_text(encoding="utf-8") == (
        "0\t0.000000\tcat/ä 3.jpg\n1\t1.000000\tdog/1.jpg\n2\t1.000000\tdog/2.png\n"
    )
    shown = capsys.readouterr().out
    assert "3 images of 2 classes" in shown and "1 dog" in shown and "pets.rec: 3 records" in shown
    packed = ImageRecordDataset(tmp_path / "pets.rec")
    assert [(picture.shape, label) for picture, label in packed] == [
        ((22, 30, 3), 0.0), ((20, 30, 3), 1.0), ((21, 30, 3), 1.0),
    ]  # fmt: skip
    np.testing.assert_array_equal(packed[2][0].asnumpy(), smooth_picture(21, 30))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets.idx", "pets.lst", "pets.rec", "root"]


def test_pictures_are_resized(root: Path, tmp_path: Path) -> None:
    assert main(["im2rec", str(tmp_path / "small"), str(root), "--resize", "10", "--no-shuffle"]) == 0
    small = ImageRecordDataset(tmp_path / "small.rec")
    assert [picture.shape for picture, _ in small] == [(10, 13, 3), (10, 15, 3), (10, 14, 3)]
    assert np.abs(small[1][0].asnumpy().mean((0, 1)) - smooth_picture(20, 30).mean((0, 1))).max() < 3


def test_a_list_with_several_labels_is_packed_as_it_is(root: Path, tmp_path: Path) -> None:
    (tmp_path / "own.lst").write_text("7\t1\t2.5\tdog/1.jpg\n")
    assert main(["im2rec", str(tmp_path / "own"), str(root)]) == 0
    [(_, label)] = ImageRecordDataset(tmp_path / "own.rec")
    assert label.tolist() == [1, 2.5]
    assert (tmp_path / "own.idx").read_text() == "7\t0\n"


def test_the_list_alone_is_shuffled_by_its_seed(root: Path, tmp_path: Path) -> None:
    orders = []
    for seed in ("1", "1", "2", "3", "4"):
        assert main(["im2rec", str(tmp_path / "x"), str(root), "--list", "--seed", seed]) == 0
        orders.append((tmp_path / "x.lst").read_text(encoding="utf-8"))
    assert orders[0] == orders[1] and len(set(orders)) > 1
    assert not (tmp_path / "x.rec").exists()


def test_a_broken_picture_is_named_or_skipped(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = root / "cat" / "bad.jpg"
    bad.write_bytes((root / "dog" / "1.jpg").read_bytes()[:-90])
    arguments = ["im2rec", str(tmp_path / "pets"), str(root)]
    assert main(arguments) == 1
    assert "bad.jpg: a damaged JPEG" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets.lst", "root"]  # no half file
    assert main([*arguments, "--skip-broken"]) == 0
    shown = capsys.readouterr()
    assert "3 records, 1 images skipped" in shown.out and "bad.jpg" in shown.err
    assert len(ImageRecordDataset(tmp_path / "pets.rec")) == 3


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("0\tcat\tdog/1.jpg\n", "line 1: 'cat' is not a number"),
        ("0\t1\tnowhere.jpg\n", "nowhere.jpg"),
        ("-1\t1\tdog/1.jpg\n", "no header of an image record"),
    ],
)
def test_a_bad_list_is_an_error(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], listing: str, message: str
) -> None:
    (tmp_path / "x.lst").write_text(listing)
    assert main(["im2rec", str(tmp_path / "x"), str(root)]) == 1
    assert message in capsys.readouterr().err


def test_a_folder_without_pictures_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["im2rec", str(tmp_path / "x"), str(tmp_path)]) == 1
    assert "no folder in it has a JPEG or PNG file" in capsys.readouterr().err
    assert main(["im2rec", str(tmp_path / "x"), str(tmp_path / "nowhere")]) == 1
    assert "nowhere is no folder" in capsys.readouterr().err


def test_lists_are_split_into_parts_for_training_validation_and_test(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "cat"
    folder.mkdir(parents=True)
    for i in range(10):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(folder / f"{i}.png")
    options = ["--train-ratio", "0.6", "--test-ratio", "0.1", "--recursive", "--num-thread", "2", "--pass-through"]
    assert main(["im2rec", str(tmp_path / "x"), str(tmp_path / "root"), *options]) == 0
    sizes, seen = {}, set()
    for part in ("train", "val", "test"):
        pictures = ImageRecordDataset(tmp_path / f"x_{part}.rec")
        sizes[part] = len(pictures)
        seen |= {int(picture[0, 0, 0].item()) for picture, _ in pictures}
    assert sizes == {"train": 6, "val": 3, "test": 1}
    assert seen == {*range(10)}
    assert not (tmp_path / "x.lst").exists()
    assert main(["im2rec", str(tmp_path / "y"), str(tmp_path / "root"), "--list", "--train-ratio", "0.5"]) == 0
    assert sorted(path.name for path in tmp_path.glob("y*")) == ["y_train.lst", "y_val.lst"]


@pytest.mark.parametrize("ratios", [("0.8", "0.3"), ("1.5", "0"), ("x", "0")])
def test_parts_that_are_more_than_the_whole_are_refused(
    ratios: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(
            ["im2rec", str(tmp_path / "x"), str(tmp_path), "--train-ratio", ratios[0], "--test-ratio", ratios[1]]
        )
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    assert code != 0
    assert "-ratio" in capsys.readouterr().err


def test_pictures_are_cropped_and_encoded_anew(root: Path, tmp_path: Path) -> None:
    options = ["--center-crop", "--encoding", ".png", "--no-shuffle"]
    assert main(["im2rec", str(tmp_path / "png"), str(root), *options, "--resize", "8"]) == 0
    assert [picture.shape for picture, _ in ImageRecordDataset(tmp_path / "png.rec")] == [(8, 8, 3)] * 3
    assert b"\x89PNG" in (tmp_path / "png.rec").read_bytes()
    assert main(["im2rec", str(tmp_path / "square"), str(root), *options]) == 0
    wanted = smooth_picture(21, 30)[:, 4:25]
    np.testing.assert_array_equal(ImageRecordDataset(tmp_path / "square.rec")[2][0].asnumpy(), wanted)
    assert main(["im2rec", str(tmp_path / "grey"), str(root), "--color", "0", "--no-shuffle"]) == 0
    grey = ImageRecordDataset(tmp_path / "grey.rec")[0][0].asnumpy()
    assert (grey[..., :1] == grey).all()
