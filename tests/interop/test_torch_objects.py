"""Checkpoints that hold other things beside the weights are read, and the other things are passed over."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import functools
import pathlib
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minidnn.errors import DataError
from minidnn.interop import read_torch_checkpoint
from minidnn.interop._pickle_machine import read_pickle
from minidnn.interop._pickle_objects import Placeholder

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class Colour(enum.Enum):
    RED = 1


class Settings(dict[str, Any]):
    """As easydict, addict and Lightning's AttributeDict are."""


class Names(list[str]):
    pass


class Config:
    """As omegaconf's DictConfig keeps its content."""

    def __init__(self) -> None:
        self._content = {"lr": 0.1}

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise AssertionError("nothing of a file may be run")


class Everything:
    """All that a class can ask of a pickle."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Everything, (), {"state": 1}, iter([1, torch.ones(2)]), iter([("key", torch.ones(2))])

    def append(self, item: Any) -> None:
        raise AssertionError("nothing of a file may be run")

    __setitem__ = extend = append  # type: ignore[assignment]


class Keywords:
    def __new__(cls, *, size: int) -> Keywords:
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": 1}


class Slots:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = [1]


class Weight(torch.Tensor):
    pass


def function() -> None:
    pass


def trained() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return net, optimizer


@pytest.fixture(scope="module")
def others() -> dict[str, Any]:
    net, optimizer = trained()
    named = collections.namedtuple("named", "a")
    globals()["named"] = named
    return {
        "namespace": argparse.Namespace(lr=0.1, steps=[1, 2]), "simple": types.SimpleNamespace(a=1),
        "ordered": collections.OrderedDict(a=1), "default": collections.defaultdict(list, {("a", 1): [1]}),
        "counter": collections.Counter("aab"), "deque": collections.deque([1, 2], 3), "named": named(1),
        "set": {1, "a", (2, 3)}, "frozen": {frozenset({1, "a"}): 1}, "nested_key": {((1, 2), 3): 4},
        "paths": {pathlib.PurePosixPath("/x")}, "enum_keys": {Colour.RED: 1}, "dtype_keys": {torch.float32: 1},
        "complex": 1 + 2j, "bytes": b"\x00\xff", "bytearray": bytearray(b"ab"), "slice": slice(1, 2),
        "range": range(3), "ellipsis": ..., "large": 1 << 4000, "negative": -1 << 80, "surrogate": "é\ud800",
        "date": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "delta": datetime.timedelta(1),
        "decimal": decimal.Decimal("1.5"), "uuid": uuid.UUID(int=1), "exception": ValueError("x"),
        "partial": functools.partial(int, base=2), "function": function, "builtin": len, "method": net.forward,
        "class": Config, "enum": Colour.RED, "settings": Settings(a=1), "names": Names("ab"), "config": Config(),
        "everything": Everything(), "keywords": Keywords(size=1), "slots": Slots(),
        "float64": np.float64(0.7), "float32": np.float32(0.7), "int64": np.int64(3), "bool": np.bool_(True),
        "complex64": np.complex64(1), "str": np.str_("x"), "array": np.arange(3), "fortran": np.ones((2, 3), order="F"),
        "objects": np.array([1, "a", None], dtype=object), "strings": np.array(["ab"]),
        "structured": np.zeros(2, [("a", "f4")]), "numpy_dtype": np.dtype("f4"), "datetime64": np.datetime64("2020-01"),
        "random": np.random.RandomState(0), "generator": np.random.default_rng(0), "masked": np.ma.array([1], mask=[1]),
        "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float32, "layout": torch.strided,
        "torch_generator": torch.Generator(), "generator_state": torch.get_rng_state(),
        "storage": torch.ones(3).untyped_storage(), "typed_storage": torch.ones(3).storage(),
        "bfloat16": torch.ones(2).bfloat16(), "float8": torch.ones(2).to(torch.float8_e4m3fn),
        "complex_tensor": torch.ones(2).cfloat(), "conjugated": torch.ones(2).cfloat().conj(),
        "negated": torch.ones(2).cfloat().conj().imag, "sparse": torch.eye(3).to_sparse(),
        "expanded": torch.arange(4).expand(2, 4), "transposed": torch.ones(2, 3).T, "empty": torch.empty(0, 3),
        "meta": torch.ones(2, device="meta"), "subclass": torch.ones(2).as_subclass(Weight),
        "parameter": torch.nn.Parameter(torch.ones(2)), "buffer": torch.nn.Buffer(torch.ones(2)),
        "optimizer_state": optimizer.state_dict(), "optimizer": optimizer, "module": net,
        "lightning": {"hyper_parameters": Settings(lr=0.1), "callbacks": {"Checkpoint{'monitor': 'loss'}": {"k": 1}}},
    }  # fmt: skip


@FORMATS
@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated", "ignore:pickling .* is deprecated")
def test_every_other_thing_leaves_the_weights_readable(
    tmp_path: Path, others: dict[str, Any], zipped: bool, protocol: int
) -> None:
    weights = torch.nn.Linear(2, 2).state_dict()
    path = tmp_path / "t.pt"
    for name, thing in others.items():
        if name == "slots" and protocol < 2:  # no pickle of protocol 1 can hold it
            continue
        torch.save(
            {"model": weights, "other": thing},
            path,
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=zipped,
        )
        read = read_torch_checkpoint(path, key="model")
        assert list(read) == ["weight", "bias"], name
        np.testing.assert_array_equal(read["weight"], weights["weight"].numpy(), err_msg=name)


@FORMATS
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_the_weights_are_found_without_a_key_beside_everything(
    tmp_path: Path, others: dict[str, Any], zipped: bool
) -> None:
    things = {"epoch": 3, **others, "state_dict": torch.nn.Linear(2, 2).state_dict()}
    torch.save(things, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    assert list(read_torch_checkpoint(tmp_path / "t.pt")) == ["weight", "bias"]


def test_a_placeholder_says_what_the_file_says(tmp_path: Path) -> None:
    import io
    import pickle

    class_ = Everything.__module__ + ".Everything"
    for protocol in range(6):
        data = pickle.dumps([Keywords(size=3), Config(), Settings(a=1)], protocol)
        keywords, config, settings = read_pickle(io.BytesIO(data), len(data))
        assert all(type(thing) is Placeholder for thing in (keywords, config, settings))
        assert str(config.origin) == class_.replace("Everything", "Config")
        assert config.state == {"_content": {"lr": 0.1}}
        assert settings.mapping == {"a": 1} or settings.arguments[1] == {"a": 1}
        assert repr(config) == f"<placeholder of {config.origin}>"


@FORMATS
def test_a_subclass_of_dict_is_a_state_dict_too(tmp_path: Path, zipped: bool) -> None:
    weights = torch.nn.Linear(2, 2).state_dict()
    for thing in (Settings(weights), Settings(model=Settings(weights)), collections.defaultdict(list, weights)):
        torch.save(thing, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
        assert list(read_torch_checkpoint(tmp_path / "t.pt")) == ["weight", "bias"]


@FORMATS
def test_tensors_of_a_subclass_and_buffers_are_tensors(tmp_path: Path, zipped: bool) -> None:
    values = torch.arange(6.0).reshape(2, 3)
    tensors = {"a": values.as_subclass(Weight), "b": torch.nn.Buffer(values.T), "c": torch.nn.Parameter(values)}
    torch.save(tensors, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    read = read_torch_checkpoint(tmp_path / "t.pt")
    for name, wanted in (("a", values), ("b", values.T), ("c", values)):
        np.testing.assert_array_equal(read[name], wanted.numpy())


@FORMATS
def test_an_expanded_tensor_is_read_as_a_view_and_a_huge_one_refused(tmp_path: Path, zipped: bool) -> None:
    expanded = {"rows": torch.arange(4).expand(3, 4), "all": torch.tensor([7.0]).expand(5, 5)}
    torch.save(expanded, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    read = read_torch_checkpoint(tmp_path / "t.pt")
    for name, tensor in expanded.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())
    torch.save({"w": torch.ones(1).expand(1 << 20, 1 << 20)}, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"t\.pt: record 'w': a tensor of 1099511627776 elements over the 1 of"):
        read_torch_checkpoint(tmp_path / "t.pt")


@FORMATS
@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (torch.eye(2).to_sparse(), r"torch\._utils\._rebuild_sparse_tensor: record 't'"),
        (torch.ones(2, dtype=torch.float8_e4m3fn), r"torch\.float8_e4m3fn: record 't'"),
        (torch.ones(2, device="meta"), r"torch\._utils\._rebuild_meta_tensor_no_storage: record 't'"),
        (torch.ones(2).cfloat().conj(), r"record 't': a tensor with a pending conjugation"),
    ],
    ids=["sparse", "float8", "meta", "conjugated"],
)
def test_a_weight_that_cannot_be_an_array_is_refused_by_name(
    tmp_path: Path, zipped: bool, thing: Any, name: str
) -> None:
    torch.save({"w": torch.ones(1), "t": thing}, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=rf"t\.pt: .*{name}"):
        read_torch_checkpoint(tmp_path / "t.pt")


@pytest.mark.filterwarnings("ignore:torch.ao.quantization", "ignore:.*quantized tensor.*")
@FORMATS
def test_quantized_weights_are_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    quantized = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    torch.save({"t": quantized}, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"refused global torch\._utils\._rebuild_qtensor: record 't'"):
        read_torch_checkpoint(tmp_path / "t.pt")
    torch.save({"w": {"a": torch.ones(1)}, "t": quantized}, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    assert list(read_torch_checkpoint(tmp_path / "t.pt", key="w")) == ["a"]


@FORMATS
@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
        ({"t": np.float64(1)}, r"numpy\.(_core|core)\.multiarray\.scalar"),
        ({"t": torch.device("cpu")}, r"torch\.device"),
        (argparse.Namespace(a=1), r"argparse\.Namespace"),
    ],
    ids=["module", "numpy", "device", "namespace"],
)
@pytest.mark.filterwarnings("ignore:.*source code of class")
def test_a_file_without_tensors_names_what_it_holds_instead(
    tmp_path: Path, zipped: bool, thing: Any, name: str
) -> None:
    torch.save(thing, tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=rf"t\.pt: refused global {name}: .*state_dict"):
        read_torch_checkpoint(tmp_path / "t.pt")
