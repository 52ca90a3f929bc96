"""Checkpoints that torch wrote read the same without torch."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minidnn.errors import DataError
from minidnn.interop import read_torch_checkpoint

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
    torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip
UNTYPED_DTYPES = [torch.uint16, torch.uint32, torch.uint64]  # saved as a dtype over raw bytes


def save(path: Path, thing: Any, *, zipped: bool, **options: Any) -> Path:
    torch.save(thing, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def assert_reads_as_torch_reads(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return assert_reads_as(path, torch.load(path, weights_only=True))


def assert_reads_as(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    ours = read_torch_checkpoint(path)
    assert list(ours) == list(tensors)
    for name, tensor in tensors.items():
        wanted = tensor.detach().numpy()
        assert ours[name].dtype == wanted.dtype
        assert ours[name].shape == wanted.shape
        np.testing.assert_array_equal(ours[name], wanted)
    return ours


@FORMATS
def test_a_state_dict_reads_the_same(tmp_path: Path, zipped: bool) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5), torch.nn.Linear(7, 2))
    assert_reads_as_torch_reads(save(tmp_path / "net.pt", net.state_dict(), zipped=zipped))


@FORMATS
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_later_pickle_protocols_are_read_though_torch_does_not(tmp_path: Path, zipped: bool, protocol: int) -> None:
    state = torch.nn.Linear(7, 2).state_dict()
    assert_reads_as(save(tmp_path / "net.pt", state, zipped=zipped, pickle_protocol=protocol), state)


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_that_numpy_has_keeps_its_type_and_values(tmp_path: Path, zipped: bool, dtype: torch.dtype) -> None:
    tensor = torch.arange(24).reshape(2, 3, 4).to(dtype)
    assert_reads_as_torch_reads(save(tmp_path / "t.pt", {"t": tensor, "tail": tensor.flatten()[5:]}, zipped=zipped))


@FORMATS
@pytest.mark.parametrize("dtype", UNTYPED_DTYPES, ids=str)
def test_dtypes_over_untyped_storages_keep_their_values(tmp_path: Path, zipped: bool, dtype: torch.dtype) -> None:
    tensor = torch.arange(24).reshape(4, 6).to(dtype)
    tensors = {"t": tensor, "part": tensor[1:].T}
    assert_reads_as(save(tmp_path / "t.pt", tensors, zipped=zipped), tensors)


@FORMATS
def test_bfloat16_comes_widened_to_float32_without_loss(tmp_path: Path, zipped: bool) -> None:
    tensor = torch.tensor([0.0, -0.0, 1.0, -2.5, 3.0e38, 1e-40, float("inf"), float("nan")]).bfloat16().reshape(2, 4)
    read = read_torch_checkpoint(save(tmp_path / "t.pt", {"t": tensor.T}, zipped=zipped))["t"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read.view(np.uint32), tensor.T.float().numpy().view(np.uint32))


@FORMATS
def test_views_strides_scalars_and_empty_tensors_read_the_same(tmp_path: Path, zipped: bool) -> None:
    base = torch.randn(4, 6, 5)
    views = {
        "transposed": base.permute(2, 0, 1),
        "stepped": base[::2, 1::3],
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "empty_inside": torch.empty(2, 0, 3),
        "one_row": torch.arange(9)[None, :],
    }
    assert_reads_as_torch_reads(save(tmp_path / "views.pt", views, zipped=zipped))


@FORMATS
def test_tensors_that_share_memory_share_it_when_read(tmp_path: Path, zipped: bool) -> None:
    base = torch.zeros(6)
    read = read_torch_checkpoint(save(tmp_path / "t.pt", {"a": base, "b": base[2:]}, zipped=zipped))
    read["a"][2] = 5
    assert read["b"][0] == 5


@FORMATS
def test_parameters_read_as_their_tensors(tmp_path: Path, zipped: bool) -> None:
    parameters = OrderedDict(w=torch.nn.Parameter(torch.randn(3)), frozen=torch.nn.Parameter(torch.randn(2), False))
    assert_reads_as_torch_reads(save(tmp_path / "p.pt", parameters, zipped=zipped))


@FORMATS
def test_what_is_not_a_tensor_is_left_out(tmp_path: Path, zipped: bool) -> None:
    things = {
        "w": torch.ones(2), "epoch": 3, "lr": 0.1, "name": "übung", "none": None, "flag": True, "big": 1 << 70,
        "list": [1, (2, 3), {4: "5"}], "set": {1, 2}, "size": torch.Size([1, 2]), "neg": -5, "word": 70000,
    }  # fmt: skip
    path = save(tmp_path / "t.pt", things, zipped=zipped)
    assert list(read_torch_checkpoint(path)) == ["w"]
    assert torch.load(path, weights_only=True)["size"] == things["size"]


@FORMATS
def test_a_key_that_is_not_there_is_an_error_that_names_those_there_are(tmp_path: Path, zipped: bool) -> None:
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    things = {"epoch": 1, "state_dict": net.state_dict(), "optimizer": optimizer.state_dict()}
    path = save(tmp_path / "t.pt", things, zipped=zipped)
    read = read_torch_checkpoint(path, key="state_dict")
    np.testing.assert_array_equal(read["weight"], net.weight.detach().numpy())
    assert list(read_torch_checkpoint(path)) == ["weight", "bias"]
    with pytest.raises(DataError, match=r"no dict under key 'weights'; key='state_dict' has 2 tensors"):
        read_torch_checkpoint(path, key="weights")


def test_the_order_of_bytes_of_a_big_endian_machine_is_respected(tmp_path: Path) -> None:
    tensors = {"f": torch.randn(5), "i": torch.arange(4), "b": torch.randn(3).bfloat16(), "c": torch.randn(2).cfloat()}
    little = read_torch_checkpoint(save(tmp_path / "little.pt", tensors, zipped=True))
    widths = [4, 8, 2, 4]  # of the numbers in storages 0, 1, ...: a complex64 is two float32
    with zipfile.ZipFile(tmp_path / "little.pt") as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for entry in old.infolist():
            data, (_, _, name) = old.read(entry), entry.filename.rpartition("/")
            if name == "byteorder":
                data = b"big"
            elif name.isdigit():
                data = np.frombuffer(data, f"u{widths[int(name)]}").byteswap().tobytes()
            new.writestr(entry.filename, data)
    big = read_torch_checkpoint(tmp_path / "big.pt")
    for name, array in little.items():
        assert big[name].dtype.isnative
        np.testing.assert_array_equal(big[name], array)


def test_views_of_storages_as_old_files_have_them(tmp_path: Path) -> None:
    """torch before 0.4 named a part of a storage in the persistent id; torch still reads that."""
    path = save(tmp_path / "t.pt", {"t": torch.arange(10.0)}, zipped=False)
    data = path.read_bytes()
    # The id ends with: the number of elements (BININT1 10), view metadata (NONE), TUPLE, memo, BINPERSID.
    # The view takes elements 3 to 8 of the storage; the tensor then lies over its first five.
    at = data.index(b"K\x0aNt")
    data = data[:at] + b"K\x0aX\x01\x00\x00\x00vK\x03K\x05\x87t" + data[at + 4 :]
    data = data.replace(b"QK\x00K\x0a\x85", b"QK\x00K\x05\x85")
    path.write_bytes(data)
    np.testing.assert_array_equal(assert_reads_as_torch_reads(path)["t"], np.arange(3.0, 8.0))


def test_an_ordered_dict_as_python_2_pickled_it(tmp_path: Path) -> None:
    path = save(tmp_path / "t.pt", OrderedDict(t=torch.arange(3)), zipped=False)
    data = path.read_bytes()
    # Python 3 writes OrderedDict(), then 't', the tensor, SETITEM; Python 2 OrderedDict([['t', the tensor]]).
    data = data.replace(b"q\x00)Rq\x01X\x01\x00\x00\x00t", b"q\x00]](U\x01t").replace(b"Rq\x0ds.", b"Req\x0da\x85R.")
    path.write_bytes(data)
    np.testing.assert_array_equal(assert_reads_as_torch_reads(path)["t"], np.arange(3))


@given(
    shape=st.lists(st.integers(0, 5), max_size=5),
    start=st.integers(0, 3),
    step=st.integers(1, 3),
    axes=st.randoms(use_true_random=False),
    zipped=st.booleans(),
)
def test_any_strided_view_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], start: int, step: int, axes: Any, zipped: bool
) -> None:
    order = list(range(len(shape)))
    axes.shuffle(order)
    tensor = torch.arange(int(np.prod(shape, dtype=int))).reshape(shape).permute(order)
    if tensor.ndim:
        tensor = tensor[start::step]
    assert_reads_as_torch_reads(save(tmp_path_factory.mktemp("view") / "t.pt", {"t": tensor}, zipped=zipped))


def test_a_missing_file_and_a_file_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pt"):
        read_torch_checkpoint(tmp_path / "nothing.pt")
    other = tmp_path / "other.pt"
    other.write_bytes(b"\x89PNG....")
    with pytest.raises(DataError, match=r"other\.pt: not a PyTorch checkpoint: it starts with b'\\x89PNG'"):
        read_torch_checkpoint(other)
    other.write_bytes(b"")
    with pytest.raises(DataError, match="not a PyTorch checkpoint"):
        read_torch_checkpoint(other)
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="a zip file, but not a PyTorch checkpoint"):
        read_torch_checkpoint(other)
    buffer = io.BytesIO()
    buffer.write(b"\x80\x02K" + struct.pack("B", 7) + b".")
    other.write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="the magic number is missing"):
        read_torch_checkpoint(other)


@pytest.mark.parametrize("thing", [torch.ones(3), [torch.ones(3)], 5], ids=["tensor", "list", "int"])
def test_a_checkpoint_that_is_no_dict_is_refused(tmp_path: Path, thing: Any) -> None:
    with pytest.raises(DataError, match="not a dict of tensors"):
        read_torch_checkpoint(save(tmp_path / "t.pt", thing, zipped=True))
