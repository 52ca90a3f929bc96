"""Saving and loading arrays."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from minidnn import npx
from minidnn import numpy as np
from minidnn.errors import DataError


def test_a_dictionary_comes_back_as_one(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    npx.save(path, {"w": np.ones((2, 3)).T, "b": np.array([1, 2], dtype="int8")})
    loaded = npx.load(path)
    assert list(loaded) == ["b", "w"] or list(loaded) == ["w", "b"]
    assert loaded["w"].shape == (3, 2)
    assert loaded["b"].dtype == "int8"
    loaded["b"][0] = 5
    assert loaded["b"].tolist() == [5, 2]


def test_arrays_without_names_come_back_as_a_list(tmp_path: Path) -> None:
    path = str(tmp_path / "arrays")
    npx.save(path, [np.full(1, i) for i in range(12)])
    assert [a.item() for a in npx.load(path)] == list(range(12))
    for only in ([np.ones(2)], []):
        npx.save(path, only)
        assert [a.tolist() for a in npx.load(path)] == [a.tolist() for a in only]


def test_one_array_comes_back_as_one(tmp_path: Path) -> None:
    for format_ in ("minidnn", "mxnet", "mxnet1"):
        npx.save(tmp_path / format_, np.full((2, 3), 7.0), format=format_)  # type: ignore[arg-type]
        assert npx.load(tmp_path / format_).tolist() == [[7] * 3] * 2
    assert numpy.load(tmp_path / "mxnet").tolist() == [[7] * 3] * 2


def test_names_of_numpys_files_choose_numpys_format(tmp_path: Path) -> None:
    one, several = np.full((2, 3), 7.0), {"w": np.ones((2,)), "b": np.array([1, 2], dtype="int8")}
    npx.save(tmp_path / "one.npy", one)
    npx.save(str(tmp_path / "several.npz"), several)
    assert numpy.load(tmp_path / "one.npy").tolist() == one.tolist() == npx.load(tmp_path / "one.npy").tolist()
    with numpy.load(tmp_path / "several.npz") as loaded:
        assert {name: loaded[name].tolist() for name in loaded} == {"w": [1, 1], "b": [1, 2]}
    npx.save(tmp_path / "one.npy", one, format="minidnn")
    assert npx.load(tmp_path / "one.npy").tolist() == one.tolist()
    with pytest.raises(ValueError):
        numpy.load(tmp_path / "one.npy")


def test_what_savez_writes_comes_back_as_a_dictionary(tmp_path: Path) -> None:
    path = tmp_path / "arrays"
    npx.savez(path, np.ones(1), np.zeros(1))
    assert sorted(npx.load(path)) == ["arr_0", "arr_1"]
    npx.save(path, {"arr_0": np.ones(1)})
    assert sorted(npx.load(path)) == ["arr_0"]
    npx.savez(path, np.ones(1), second=np.zeros(1))
    assert sorted(npx.load(path)) == ["arr_0", "second"]


def test_what_cannot_be_saved_or_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"save\(\) wants arrays"):
        npx.save(tmp_path / "x", {"a": 1})  # type: ignore[dict-item]
    (tmp_path / "broken").write_bytes(b"abc")
    with pytest.raises(DataError, match="broken"):
        npx.load(tmp_path / "broken")
    with pytest.raises(FileNotFoundError):
        npx.load(tmp_path / "missing")
