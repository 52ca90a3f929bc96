"""What a hostile or damaged checkpoint asks for is refused, with a clear error, and nothing of it runs."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minidnn.errors import DataError
from minidnn.interop import _pickle_machine, _zip_files, read_torch_checkpoint

PROTO, STOP = b"\x80\x02", b"."
INT32_MAX = struct.pack("<i", 2**31 - 1)


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def integer(number: int) -> bytes:
    data = number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int = 0,
    count: int = 4,
    key: str = "0",
    storage: str = "FloatStorage",
) -> bytes:
    """The opcodes of a tensor over a storage of `count` elements, as torch's zip files have them."""
    kind = f"ctorch\n{storage}\n".encode()
    identity = b"(" + text("storage") + kind + text(key) + text("cpu") + integer(count) + b"tQ"
    arguments = identity + integer(offset) + numbers(shape) + numbers(strides) + b"\x89}t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"R"


def zip_file(path: Path, body: bytes, entries: dict[str, bytes] | None = None, **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", PROTO + body + STOP)
        for name, data in (entries if entries is not None else {"data/0": bytes(16)}).items():
            archive.writestr(f"archive/{name}", data)
    return path


def state(value: bytes) -> bytes:
    """The opcodes of ``{"w": value}``."""
    return b"}" + text("w") + value + b"s"


def legacy_file(path: Path, body: bytes) -> Path:
    head = b"".join(pickle.dumps(thing, 2) for thing in (0x1950A86A20F9469CFC6C, 1001, {}))
    path.write_bytes(head + PROTO + body)
    return path


@pytest.fixture(params=[zip_file, legacy_file], ids=["zip", "legacy"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return lambda body: request.param(tmp_path / "hostile.pt", body)


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function: Any, *arguments: Any, more: tuple[Any, ...] = ()) -> None:
        self.reduced = (function, arguments, *more)

    def __reduce__(self) -> Any:
        return self.reduced


def _globals() -> list[tuple[str, str]]:
    return [
        ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
        ("builtins", "exec"), ("builtins", "getattr"), ("builtins", "__import__"), ("__builtin__", "eval"),
        ("builtins", "open"), ("builtins", "print"), ("builtins", "type"), ("builtins", "object"),
        ("builtins", "dict"), ("builtins", "list"), ("operator", "attrgetter"), ("functools", "partial"),
        ("importlib", "import_module"), ("pickle", "loads"), ("marshal", "loads"), ("types", "CodeType"),
        ("codecs", "encode"), ("_codecs", "encode"), ("collections", "namedtuple"), ("collections", "Counter"),
        ("numpy", "load"), ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"),
        ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.testing._private.utils", "runstring"),
        ("torch", "load"), ("torch", "Tensor"), ("torch", "device"), ("torch.jit", "load"), ("torch.hub", "load"),
        ("torch.serialization", "load"), ("torch.storage", "_load_from_bytes"), ("torch.storage", "FloatStorage"),
        ("torch._utils", "_rebuild_wrapper_subclass"), ("torch._utils", "_rebuild_qtensor"),
        ("torch._tensor", "_rebuild_from_type_v2"), ("torch._C", "_initExtension"), ("torch", "Size.__class__"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("torch._utils ", "_rebuild_tensor_v2"),
        ("", ""), ("minidnn.interop._torch_tensors", "Constructor"), ("minidnn.interop", "read_torch_checkpoint"),
    ]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), _globals())
def test_every_other_global_is_named_and_never_looked_up(write: Any, module: str, name: str) -> None:
    by_line = f"c{module}\n{name}\n".encode()
    by_stack = text(module) + text(name) + b"\x93"
    for opcodes in (by_line, by_stack):
        with pytest.raises(DataError) as caught:
            read_torch_checkpoint(write(state(opcodes + b"(" + text("true") + b"tR") + STOP))
        assert f"refused global {module}.{name}:" in str(caught.value)
        assert "hostile.pt" in str(caught.value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nothing_that_reduces_to_a_call_is_called(write: Any, tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "touched"
    calls = [
        Calls(Path.touch, target),
        Calls(eval, f"open({str(target)!r}, 'w')"),
        Calls(exec, f"open({str(target)!r}, 'w')"),
        Calls(dict, more=(None, None, iter([("key", Calls(Path.touch, target))]))),
        Calls(list, more=({"x": 1}, iter([Calls(Path.touch, target)]))),
        Calls(io.BytesIO, b"x", more=((b"x", 0, {"a": 1}),)),
    ]
    for call in calls:
        body = pickle.dumps({"w": call}, protocol)
        with pytest.raises(DataError, match=r"refused global"):
            read_torch_checkpoint(write(body.removeprefix(PROTO)))
        assert not target.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_beside_the_weights_is_called_either(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "touched"
    for call in (Calls(Path.touch, target), Calls(exec, f"open({str(target)!r}, 'w')"), Calls(dict, more=({"x": 1},))):
        # DICT takes what MARK began: the weights, and beside them what is called, in any protocol.
        inner = pickle.dumps(call, protocol).removeprefix(b"\x80%c" % protocol).removesuffix(STOP)
        body = b"(" + text("w") + tensor((4,), (1,)) + text("x") + inner + b"d"
        assert list(read_torch_checkpoint(zip_file(tmp_path / "t.pt", body))) == ["w"]
        assert not target.exists()


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_pickle_that_is_no_checkpoint_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(pickle.dumps(Calls(eval, "1"), protocol))
    with pytest.raises(DataError, match=r"old\.pt: not a PyTorch checkpoint"):
        read_torch_checkpoint(path)
    with pytest.raises(DataError, match=r"refused global (builtins|__builtin__)\.eval"):
        read_torch_checkpoint(zip_file(path, pickle.dumps({"w": Calls(eval, "1")}, protocol)))


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"(ios\nsystem\n", "refused global os.system"),  # INST
        (b"ios\nsystem\n", "IndexError"),
        (b"(cos\nsystem\no", "refused global os.system"),  # OBJ
        (b"(ctorch\nSize\no", "torch.Size: 0 arguments"),
        (b"(o", "refused call of a NoneType"),
        (b"ctorch\nSize\n)\x81", "torch.Size: 0 arguments"),  # NEWOBJ
        (b"ctorch\nSize\n)}\x92", "torch.Size: 0 arguments"),  # NEWOBJ_EX
        (b"cos\nsystem\n])\x92", "the arguments of a call are not a tuple and a dict"),
        (b"cos\nsystem\n)]\x92", "the arguments of a call are not a tuple and a dict"),
        (b"cos\nsystem\n]R", "the arguments are a list, not a tuple"),
        (b"ccopyreg\n_reconstructor\n)R", "copyreg._reconstructor: arguments that do not fit"),
        (b"\x82\x01", "opcode 0x82"),  # EXT1: a global by number
        (b"\x83\x01\x00", "opcode 0x83"),
        (b"\x84\x01\x00\x00\x00", "opcode 0x84"),
        (b"P0\n", "opcode 0x50"),  # PERSID
        (b"\x98", "opcode 0x98"),  # READONLY_BUFFER
        (b"\x97", "opcode 0x97"),  # NEXT_BUFFER
        (b"\x96" + struct.pack("<Q", 2**63), "truncated pickle"),  # BYTEARRAY8
        (b"\x8b" + INT32_MAX, "truncated pickle: 2147483647 bytes wanted"),  # LONG4
        (b"Ix\n", "b'x' is not a number"),
        (b"I" + b"9" * 4990 + b"\n", "is not a number"),
        (b"L12", "a number has no end"),
        (b"F1.5.2\n", "b'1.5.2' is not a number"),
        (b"gx\n", "b'x' is not a number"),
        (b"g7\n", "KeyError"),
        (b"Sabc\n", "a string without its quotes"),
        (b"S'\n", "a string without its quotes"),
        (b"V\\u12\n", "UnicodeDecodeError"),
        (b"\xff", "opcode 0xff"),
        (b"ctorch\nFloatStorage\n)R", "refused call of a ElementType"),
        (text("os.system") + text("true") + b"\x85R", "refused call of a str"),
        (b"N)R", "refused call of a NoneType"),
        (b"ctorch\nSize\n]R", "arguments are a list, not a tuple"),
        (b"ctorch\nSize\nctorch\nSize\n\x93", "name of a global is not a string"),
        (b"K\x01K\x02\x93", "name of a global is not a string"),
        (text("torch") + b")\x93", "name of a global is not a string"),
        (b"ctorch\nSize\n}" + text("__class__") + text("os") + b"sb", "meet a Constructor"),  # BUILD
        (tensor((2,), (1,)) + b"}" + text("storage") + b"K\x01sb", "meet a Tensor|damaged persistent id: 5 items"),
        (b"]}" + text("__setstate__") + b"K\x01sb", "meet a list"),
        (b"K\x05K\x06a", "items for a list meet a int"),
        (b"]K\x05K\x06s", "items for a dict meet a list"),
        (b"}(K\x05u", "a key of a dict has no value"),
        (b"}}K\x05s", "IndexError|a dict as key|takes more"),
        (b"})K\x05s", "a tuple as key"),
        (b"}" + integer(1 << 64) + b"K\x05s", "a int as key"),
        (b"(K\x01)\x91", "a tuple as key"),
        (b"a", "items for a list meet a dict"),
        (b"h\x07", "KeyError"),
        (b"R", "IndexError|takes more|refused call"),
        (b"tttt", "IndexError"),
        (b"X\x04\x00\x00\x00\xff\xff\xff\xff", "UnicodeDecodeError"),
        (b"c\xff\xff\n\xff\n", "UnicodeDecodeError"),
        (b"c" + b"x" * 5000 + b"\n\n", "the name of a global has no end"),
        (b"X" + struct.pack("<I", 2**32 - 1), "truncated pickle: 4294967295 bytes wanted"),
        (b"\x8d" + struct.pack("<Q", 2**64 - 1), "truncated pickle: 18446744073709551615 bytes wanted"),
        (b"B" + INT32_MAX, "truncated pickle: 2147483647 bytes wanted"),
        (b"\x8e" + struct.pack("<Q", 2**63), "truncated pickle"),
        (b"\x95" + struct.pack("<Q", 2**63), "a frame is longer than the file"),
    ],
)
def test_tricks_of_the_pickle_language_are_refused(write: Any, opcodes: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_torch_checkpoint(write(state(opcodes) + STOP))


def test_a_tensor_that_does_not_fit_harms_only_who_asks_for_it(tmp_path: Path) -> None:
    for bad in (tensor((5,), (1,)), tensor((2,), (-1,)), tensor((2**40, 2**40), (0, 0)), tensor((2,), (1,), offset=9)):
        body = b"}(" + text("model") + state(tensor((4,), (1,))) + text("x") + state(bad) + b"u"
        path = zip_file(tmp_path / "t.pt", body)
        assert list(read_torch_checkpoint(path, key="model")) == ["w"]
        with pytest.raises(DataError, match=r"t\.pt: record 'w': a tensor"):
            read_torch_checkpoint(path, key="x")


def test_deep_and_wide_placeholders_are_harmless(tmp_path: Path) -> None:
    item = b"cm\nC\nq\x00"
    deep = item + b")\x81" + b"q\x01h\x00h\x01\x85\x81" * 200_000
    keys = b"}q\x02(" + b"".join(b"h\x00)\x81K\x01" for _ in range(50_000)) + b"u"
    tuples = b"}(" + b"".join(integer(i) + integer(i * (2**61 - 1) % 2**60) + b"\x86N" for i in range(50_000)) + b"u"
    itself = b"h\x00)\x81q\x03h\x03bh\x03h\x03h\x03s"
    body = b"}(" + text("a") + b"(" + deep + b"t" + text("b") + keys + text("c") + tuples
    body += text("d") + b"(" + itself + b"t" + text("w") + tensor((4,), (1,)) + b"u"
    assert list(read_torch_checkpoint(zip_file(tmp_path / "t.pt", body))) == ["w"]


def test_a_huge_memo_number_costs_nothing(tmp_path: Path) -> None:
    body = state(tensor((4,), (1,)) + b"r\xff\xff\xff\xff")
    assert read_torch_checkpoint(zip_file(tmp_path / "t.pt", body))["w"].shape == (4,)


def test_a_memo_bomb_a_cycle_and_deep_nesting_are_harmless(tmp_path: Path) -> None:
    bomb = b"]q\x00" + b"".join(b"]q" + bytes([i]) + (b"h" + bytes([i - 1]) + b"a") * 2 for i in range(1, 100))
    bomb_of_tuples = b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (i - 1, i - 1, i) for i in range(1, 100))
    cycle = b"]q\x01h\x01a}q\x02" + text("self") + b"h\x02s"
    deep = b"]" * 200_000 + b"a" * 199_999
    through_the_memo = b"]q\x00" + b"]h\x00aq\x00" * 200_000
    body = b"}("
    for i, thing in enumerate((bomb, bomb_of_tuples, cycle, deep, through_the_memo)):
        body += text(f"thing{i}") + b"(" + thing + b"t"
    body += text("w") + tensor((2, 2), (2, 1)) + b"u"
    assert list(read_torch_checkpoint(zip_file(tmp_path / "t.pt", body))) == ["w"]


def test_a_memo_bomb_in_a_place_that_is_checked_is_refused_at_once(tmp_path: Path) -> None:
    bomb = b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (i - 1, i - 1, i) for i in range(1, 100))
    for body in (
        b"}(" + bomb + b"1h\x63K\x01u",  # the key of a dict
        state(b"ctorch\nSize\n" + b"(" + bomb + b"1h\x63\x85R"),
        b"(" + bomb + b"1h\x63Q",  # a persistent id
    ):
        with pytest.raises(DataError):
            read_torch_checkpoint(zip_file(tmp_path / "t.pt", body))


def test_more_opcodes_than_any_checkpoint_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pickle_machine, "MAX_OPCODES", 1000)
    with pytest.raises(DataError, match="more than 1000 opcodes"):
        read_torch_checkpoint(zip_file(tmp_path / "t.pt", b"]" * 2000))


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (tensor((5,), (1,)), "record 'w': a tensor reaches element 4 of storage 0, which has 4"),
        (tensor((4,), (1,), offset=1), "reaches element 4"),
        (tensor((2, 2), (3, 1)), "reaches element 4"),
        (tensor((1,), (1,), offset=4), "reaches element 4"),
        (tensor((2**62,), (1,)), "reaches element 4611686018427387903"),
        (tensor((2**62, 2**62), (2**62, 1)), "reaches element"),
        (tensor((2**32, 2**32), (0, 0)), "a tensor of 18446744073709551616 elements over the 4 of storage 0"),
        (tensor((3, 3), (1, 1)), "reaches|a tensor of 9 elements"),
        (tensor((2**24 + 1,), (0,)), "record 'w': a tensor of 16777217 elements over the 4"),
        (tensor((2,), (-1,)), "strides is not a tuple of natural numbers"),
        (tensor((2,), (-1,), offset=1), "strides is not a tuple of natural numbers"),
        (tensor((-1,), (1,)), "shape is not a tuple of natural numbers"),
        (tensor((-2, -2), (1, 1)), "shape is not a tuple of natural numbers"),
        (tensor((2,), (1,), offset=-1), "offset is not a natural number"),
        (tensor((2,), (2**63,)), "strides is not a tuple"),
        (tensor((2**63,), (1,)), "shape is not a tuple"),
        (tensor((2,), (1,), offset=2**1000), "offset is not a natural number"),
        (tensor((2,), (1, 1)), "1 dimensions and 2 strides"),
        (tensor((1,) * 65, (1,) * 65), "rank 65; at most 64"),
        (tensor((0, 2**62), (1, 1)), r"a tensor of shape \(0, 4611686018427387904\)"),
        (tensor((4,), (1,), count=5), "5 elements need 20 bytes, the entry has 16"),
        (tensor((2,), (1,), count=2), "2 elements need 8 bytes, the entry has 16"),
        (tensor((4,), (1,), count=2**62), "need 18446744073709551616 bytes"),
        (tensor((4,), (1,), count=-4), "the number of elements is not a natural number"),
        (tensor((4,), (1,), count=2**63), "the number of elements is not a natural number"),
        (tensor((4,), (1,), key="1"), r"entry data/1 is not in the file"),
        (tensor((4,), (1,), key="../data.pkl"), r"entry data/\.\./data\.pkl is not in the file"),
        (tensor((2,), (1,), storage="UntypedStorage", count=16), "without a dtype over an untyped storage"),
        (tensor((2,), (1,), storage="uint16"), "no storage class"),
        (tensor((2,), (1,), storage="QInt8Storage"), r"refused global torch\.QInt8Storage"),
    ],
)
def test_tensors_out_of_their_storage_and_storages_out_of_the_file_are_refused(
    tmp_path: Path, opcodes: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_torch_checkpoint(zip_file(tmp_path / "t.pt", state(opcodes)))


def test_a_rebuild_with_arguments_that_do_not_fit_is_refused(tmp_path: Path) -> None:
    storage = tensor((1,), (1,)).split(b"(", 1)[1].split(b"Q")[0] + b"Q"
    v2, v3 = b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_tensor_v3\n"
    rest = b"K\x00K\x01\x85K\x01\x85\x89}"
    cases = [
        (v2 + b")R", "0 arguments"),
        (v2 + b"(NK\x00))\x89}tR", "a tensor needs a storage, got a NoneType"),
        (v2 + b"(" + tensor((1,), (1,)) + rest + b"tR", "a tensor needs a storage, got a Tensor"),
        (v2 + b"(" + storage + b"K\x00K\x01K\x01\x85\x89}tR", "shape is not a tuple"),
        (v2 + b"(" + storage + b"K\x00\x88\x85K\x01\x85\x89}tR", "shape is not a tuple of natural numbers"),
        (v2 + b"(" + storage + rest + b"}" + text("conj") + b"\x88stR", "conjugation"),
        (v3 + b"(" + storage + rest + b"NtR", "_rebuild_tensor_v3: arguments that do not fit"),
        (v3 + b"(" + storage + rest + b"ctorch\nFloatStorage\ntR", "_rebuild_tensor_v3: arguments that do not fit"),
        (v3 + b"(" + storage + rest + b"ctorch\nuint16\ntR", "a tensor of uint16 over a FloatStorage"),
        (b"ctorch._utils\n_rebuild_parameter\n(NNNtR", "_rebuild_parameter: arguments that do not fit"),
        (b"ctorch\nSize\n(K\x01K\x02tR", "torch.Size: 2 arguments"),
        (b"ccollections\nOrderedDict\nK\x01\x85R", "OrderedDict: arguments that do not fit"),
        (b"ccollections\nOrderedDict\n]K\x01a\x85R", "OrderedDict: arguments that do not fit"),
        (b"cbuiltins\nset\n)R", "set: arguments that do not fit"),
        (b"K\x01Q", "refused persistent id of kind 'unknown'"),
        (b"(" + text("module") + b"NNNtQ", "refused persistent id of kind 'module'"),
        (b"(" + text("storage") + b"tQ", "damaged persistent id: 1 items"),
        (b"(" + text("storage") + b"N" + text("0") + text("cpu") + b"K\x04tQ", "no storage class"),
        (b"(" + text("storage") + b"ctorch\nFloatStorage\nK\x00" + text("cpu") + b"K\x04tQ", "key of a storage is not"),
    ]
    for opcodes, message in cases:
        with pytest.raises(DataError, match=message):
            read_torch_checkpoint(zip_file(tmp_path / "t.pt", state(opcodes)))


def test_one_storage_under_two_sizes_or_types_is_refused(tmp_path: Path) -> None:
    for other in (tensor((2,), (1,), count=2), tensor((2,), (1,), count=2, storage="DoubleStorage")):
        body = b"}(" + text("a") + tensor((4,), (1,)) + text("b") + other + b"u"
        with pytest.raises(DataError, match="storage 0: two sizes or types"):
            read_torch_checkpoint(zip_file(tmp_path / "t.pt", body))


def test_many_tensors_over_one_storage_take_its_memory_once(tmp_path: Path) -> None:
    body = b"}(" + b"".join(text(f"w{i}") + tensor((1 << 20,), (1,), count=1 << 20) for i in range(1000)) + b"u"
    read = read_torch_checkpoint(zip_file(tmp_path / "t.pt", body, {"data/0": bytes(4 << 20)}))
    assert len({array.__array_interface__["data"][0] for array in read.values()}) == 1


def test_bytes_that_are_no_bool_become_one(tmp_path: Path) -> None:
    body = state(tensor((4,), (1,), storage="BoolStorage"))
    read = read_torch_checkpoint(zip_file(tmp_path / "t.pt", body, {"data/0": bytes([0, 1, 2, 255])}))["w"]
    assert read.view(np.uint8).tolist() == [0, 1, 1, 1]


def test_zip_bombs_and_twisted_zip_files_are_refused(tmp_path: Path) -> None:
    path, body = tmp_path / "t.pt", state(tensor((4,), (1,)))
    with pytest.raises(DataError, match=r"entry archive/data\.pkl is compressed"):
        read_torch_checkpoint(zip_file(path, body, {"data/0": bytes(1 << 24)}, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match="says neither little nor big"):
        read_torch_checkpoint(zip_file(path, body, {"data/0": bytes(16), "byteorder": b"middle"}))
    with pytest.raises(DataError, match="entry byteorder has 65 bytes"):
        read_torch_checkpoint(zip_file(path, body, {"data/0": bytes(16), "byteorder": bytes(65)}))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as archive:
        for _ in range(2):
            archive.writestr("archive/data.pkl", PROTO + body + STOP)
    with pytest.raises(DataError, match=r"duplicate entry archive/data\.pkl in the zip file"):
        read_torch_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"")
        archive.writestr("b/data.pkl", b"")
    with pytest.raises(DataError, match=r"2 entries named FOLDER/data\.pkl"):
        read_torch_checkpoint(path)


def test_entries_that_claim_more_than_the_file_has_are_refused(tmp_path: Path) -> None:
    path = zip_file(tmp_path / "t.pt", state(tensor((4,), (1,))))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the directory's record of data/0: sizes at 20 and 24
    data[at + 20 : at + 28] = struct.pack("<II", 1 << 31, 1 << 31)
    path.write_bytes(data)
    with pytest.raises(DataError, match="its entries claim 2147483"):
        read_torch_checkpoint(path)


def test_a_directory_of_millions_of_entries_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zip_file(tmp_path / "t.pt", state(tensor((4,), (1,))), {f"data/{i}": bytes(16) for i in range(1000)})
    assert len(read_torch_checkpoint(path)) == 1
    monkeypatch.setattr(_zip_files, "_MAX_READ", 40_000)
    with pytest.raises(DataError, match="a part of it has more than 40000 bytes"):
        read_torch_checkpoint(path)


def test_a_flipped_bit_in_a_zip_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    torch.save({"w": torch.full((16,), 1.5)}, path)
    data = path.read_bytes()
    at = data.index(np.full(16, 1.5, np.float32).tobytes())
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(DataError, match=r"entry t/data/0 is damaged: Bad CRC-32"):
        read_torch_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_truncated_anywhere_is_a_clear_error(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "t.pt"
    torch.save({"w": torch.ones(3), "b": torch.ones(2).bfloat16()}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"t\.pt: "):
            read_torch_checkpoint(path)


def test_a_legacy_file_whose_parts_contradict_each_other_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    raw = struct.pack("<q", 3) + np.ones(3, np.float32).tobytes()
    assert data.endswith(raw)
    head = data.removesuffix(raw)
    keys = head[head.rindex(PROTO) :]
    cases = [
        (head + struct.pack("<q", 4) + bytes(16), "the pickle says 3 elements, the data 4"),
        (head + struct.pack("<q", -3) + bytes(16), "the pickle says 3 elements, the data -3"),
        (head.removesuffix(keys) + pickle.dumps(["7"], 2) + raw, "names 7 twice or for no tensor"),
        (head.removesuffix(keys) + pickle.dumps([], 2) + raw, "is not in the file"),
        (head.removesuffix(keys) + pickle.dumps([7], 2) + raw, "the list of storage keys is damaged"),
        (head.removesuffix(keys) + pickle.dumps("7", 2) + raw, "the list of storage keys is damaged"),
        (data.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2), 1), "protocol version 1001 is read"),
    ]
    for content, message in cases:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_torch_checkpoint(path)


_SAMPLES: dict[bool, bytes] = {}


def _sample(zipped: bool) -> bytes:
    if zipped not in _SAMPLES:
        buffer = io.BytesIO()
        torch.save(torch.nn.Linear(2, 2).state_dict(), buffer, _use_new_zipfile_serialization=zipped)
        _SAMPLES[zipped] = buffer.getvalue()
    return _SAMPLES[zipped]


@settings(max_examples=300)
@given(st.booleans(), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_file_is_read_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, zipped: bool, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(_sample(zipped))
    for position, value in changes:
        data[position % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "t.pt"
    path.write_bytes(data)
    try:
        read = read_torch_checkpoint(path)
    except DataError as error:
        assert "t.pt: " in str(error)
    else:
        assert all(array.size <= 4 for array in read.values())


@given(body=st.binary(max_size=60))
def test_a_pickle_of_random_bytes_is_refused(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = zip_file(tmp_path_factory.mktemp("random") / "t.pt", body)
    with contextlib.suppress(DataError):
        assert not any(array.size for array in read_torch_checkpoint(path).values())
