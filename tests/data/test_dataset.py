"""Data sets, samplers and batchify functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_helpers import PHOTOS, Numbers

import minidnn as mx
from minidnn.errors import ShapeError
from minidnn.gluon import data
from minidnn.gluon.data import batchify

TEN = data.SimpleDataset([*range(10)])


def test_arrays_side_by_side() -> None:
    both = data.ArrayDataset(mx.np.arange(6).reshape(3, 2), [7, 8, 9])
    assert len(both) == 3
    first, second = both[1]
    assert (first.tolist(), second) == ([2, 3], 8)
    assert [*data.ArrayDataset([4, 5])] == [4, 5]
    with pytest.raises(ValueError, match="one length, got 3, 2"):
        data.ArrayDataset([1, 2, 3], np.zeros(2))
    with pytest.raises(ValueError, match="at least one"):
        data.ArrayDataset()


def test_labels_of_our_arrays_are_numbers() -> None:
    picture, label = data.ArrayDataset(mx.np.zeros((3, 2, 2)), mx.np.array([7, 8, 9], dtype="int32"))[1]
    assert (picture.shape, type(label), label) == ((2, 2), np.int32, 8)


def test_a_data_set_or_a_sampler_need_define_only_what_is_asked_for() -> None:
    class Squares(data.Dataset):
        def __getitem__(self, idx: int) -> int:
            return idx * idx

    class Odd(data.Sampler):
        def __iter__(self) -> Any:
            return iter((1, 3, 5))

    loader = data.DataLoader(Squares(), sampler=Odd(), batch_size=2)
    assert [batch.tolist() for batch in loader] == [[1, 9], [25]]
    with pytest.raises(NotImplementedError, match="Squares must define __len__"):
        len(Squares())
    with pytest.raises(NotImplementedError, match="Odd must define __len__"):
        len(loader)
    with pytest.raises(NotImplementedError, match="must define __getitem__"):
        data.Dataset()[0]
    with pytest.raises(NotImplementedError, match="must define __iter__"):
        iter(data.Sampler())


def test_the_default_batchify_function_has_mxnets_name() -> None:
    from minidnn.gluon.data.dataloader import default_batchify_fn, default_mp_batchify_fn

    for batchify_default in (default_batchify_fn, default_mp_batchify_fn):
        numbers, arrays = batchify_default([(1, np.zeros(3)), (2, np.ones(3))])
        assert (numbers.tolist(), arrays.shape) == ([1, 2], (2, 3))


def test_transform_gets_the_parts_and_transform_first_the_first() -> None:
    both = data.ArrayDataset([1, 2], [10, 20])
    assert [*both.transform(lambda x, y: x + y)] == [11, 22]
    assert [*both.transform_first(lambda x: -x)] == [(-1, 10), (-2, 20)]
    assert [*data.SimpleDataset([1, 2]).transform_first(lambda x: -x)] == [-1, -2]


@pytest.mark.parametrize(("lazy", "calls"), [(True, 0), (False, 10)])
def test_a_transform_is_lazy_unless_told(lazy: bool, calls: int) -> None:
    seen: list[int] = []
    TEN.transform(seen.append, lazy=lazy)
    assert len(seen) == calls


@pytest.mark.parametrize("shards", [1, 3, 4, 10, 12])
def test_shards_are_even_and_make_up_the_whole(shards: int) -> None:
    parts = [[*TEN.shard(shards, i)] for i in range(shards)]
    assert [x for part in parts for x in part] == [*TEN]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_take_filter_and_sample() -> None:
    assert [*TEN.take(3)] == [0, 1, 2]
    assert [*TEN.take(None)] == [*TEN.take(99)] == [*TEN]
    assert [*TEN.filter(lambda x: x % 3 == 0)] == [0, 3, 6, 9]
    assert [*TEN.sample(data.IntervalSampler(10, 4))] == [0, 4, 8, 1, 5, 9, 2, 6, 3, 7]
    shuffled = TEN.sample(data.RandomSampler(10))
    assert [*shuffled] == [*shuffled]
    for call, message in (
        (lambda: TEN.take(-1), "must not be negative"),
        (lambda: TEN.shard(3, 3), "index must be 0 to 2"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="must be a Sampler"):
        TEN.sample([1, 2])  # type: ignore[arg-type]


def test_records_are_a_data_set(tmp_path: Path) -> None:
    records = data.RecordFileDataset(PHOTOS)
    assert len(records) == 12
    assert records[3] == mx.recordio.MXIndexedRecordIO(PHOTOS.with_suffix(".idx"), PHOTOS, "r").read_idx(3)
    with pytest.raises(IndexError):
        records[12]
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        data.RecordFileDataset("nowhere.rec")
    (tmp_path / "lonely.rec").write_bytes(PHOTOS.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"lonely\.idx: the index of .*lonely\.rec is missing"):
        data.RecordFileDataset(tmp_path / "lonely.rec")


def test_a_random_sampler_obeys_the_seed_and_changes_each_epoch() -> None:
    mx.np.random.seed(1)
    sampler = data.RandomSampler(50)
    first, second = [*sampler], [*sampler]
    assert sorted(first) == sorted(second) == [*range(50)]
    assert first != second
    mx.np.random.seed(1)
    assert [*sampler] == first


def test_other_samplers() -> None:
    assert [*data.SequentialSampler(3, 4)] == [4, 5, 6]
    assert [*data.FilterSampler(lambda x: x > 7, TEN)] == [8, 9]
    once = data.IntervalSampler(10, 4, rollover=False)
    assert [*once] == [0, 4, 8] and len(once) == 3
    parts = [[*data.SplitSampler(10, 3, i)] for i in range(3)]
    assert [sorted(part) for part in parts] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert [*data.SplitSampler(10, 2, 1, shuffle=False)] == [5, 6, 7, 8, 9]
    with pytest.raises(ValueError, match="interval"):
        data.IntervalSampler(3, 4)


@pytest.mark.parametrize(
    ("last_batch", "epochs"),
    [
        ("keep", [[[0, 1, 2], [3, 4, 5], [6]]] * 2),
        ("discard", [[[0, 1, 2], [3, 4, 5]]] * 2),
        ("rollover", [[[0, 1, 2], [3, 4, 5]], [[6, 0, 1], [2, 3, 4]], [[5, 6, 0], [1, 2, 3], [4, 5, 6]]]),
    ],
)
def test_last_batches(last_batch: str, epochs: list[Any]) -> None:
    sampler = data.BatchSampler(data.SequentialSampler(7), 3, last_batch)
    for wanted in epochs:
        assert len(sampler) == len(wanted)
        assert [*sampler] == wanted
    with pytest.raises(ValueError, match="last_batch must be"):
        data.BatchSampler(data.SequentialSampler(7), 3, "drop")


def test_stack() -> None:
    arrays = batchify.Stack()([mx.np.ones((2,)), mx.np.zeros((2,))])
    assert (arrays.tolist(), arrays.dtype) == ([[1, 1], [0, 0]], np.float32)
    pictures, labels = batchify.Stack()([(np.zeros((2, 2), np.uint8), 4), (np.ones((2, 2), np.uint8), 5)])
    assert (pictures.shape, pictures.dtype, labels.tolist(), labels.dtype) == ((2, 2, 2), np.uint8, [4, 5], np.int64)
    with pytest.raises(ShapeError, match=r"\(2,\) of sample 0, \(3,\) of sample 2"):
        batchify.Stack()([np.zeros(2), np.zeros(2), np.zeros(3)])
    with pytest.raises(ShapeError, match=r"number of parts, got \[2, 3\]"):
        batchify.Stack()([(1, 2), (1, 2, 3)])


def test_pad() -> None:
    padded = batchify.Pad(val=-1, dtype="int32")([[1, 2, 3], [4], [5, 6]])
    assert (padded.tolist(), padded.dtype) == ([[1, 2, 3], [4, -1, -1], [5, 6, -1]], np.int32)
    assert batchify.Pad(round_to=4)([np.ones((3, 5)), np.ones((2, 7))]).shape == (2, 4, 8)
    with pytest.raises(TypeError, match="Group"):
        batchify.Pad()([(1, 2)])


def test_group_append_and_aslist() -> None:
    a, b, c = batchify.Group(batchify.Stack(), batchify.Append(), batchify.AsList())([(1, [2, 3], "x"), (4, [5], "y")])
    assert a.tolist() == [1, 4]
    assert [array.tolist() for array in b] == [[[2, 3]], [[5]]]
    assert c == ["x", "y"]
    with pytest.raises(ShapeError, match="samples of 2 parts, and 1 functions"):
        batchify.Group([batchify.Stack()])([(1, 2)])


def test_a_data_set_is_iterable() -> None:
    assert [label for _, label in Numbers(3)] == [0, 1, 2]
