"""Tensors of a file as arrays: raw and typed fields, and data that lie in files of their own."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from minidnn.errors import DataError
from minidnn.interop.onnx.elements import BY_NUMBER, Element
from minidnn.interop.onnx.model import Constant, shown
from minidnn.untrusted import is_possible

__all__ = ["read_sparse_tensor", "read_tensor"]

Array = np.ndarray[Any, Any]

# The field that holds elements of a type if the bytes are not given as such.
_FIELDS = {"float32": "float_data", "float64": "double_data", "int64": "int64_data"}
_FIELDS |= dict.fromkeys(("uint32", "uint64"), "uint64_data")

# Elements of a tensor of which a file holds only those that are not zero.
_MAX_DENSE = 1 << 26

_EXTERNAL = 1


def read_tensor(proto: Any, folder: Path | None) -> Constant:
    """The tensor, in an array that is not to be written to.

    Args:
        proto: a TensorProto.
        folder: where data outside of the file may lie; None: nowhere.

    Raises:
        DataError: the elements are not those that the shape says, of a type that is not supported, or somewhere else.
        OSError: a file cannot be read.
    """
    label = f"tensor {shown(str(proto.name))}"
    element = BY_NUMBER.get(proto.data_type)
    if element is None:
        raise DataError(f"{label}: elements of type {_type_name(proto.data_type)} are not supported")
    shape = tuple(int(n) for n in proto.dims)
    if not is_possible(shape, 8) or proto.HasField("segment"):
        raise DataError(f"{label}: its shape {shape} is none that a tensor can have, or it is one of several segments")
    count = math.prod(shape)
    if proto.data_location == _EXTERNAL:
        flat = _from_bytes(_external_bytes(proto, folder, label, _bytes_of(count, element)), element, count, label)
    elif proto.HasField("raw_data"):
        flat = _from_bytes(proto.raw_data, element, count, label)
    else:
        flat = _from_field(proto, element, count, label)
    return Constant(flat.reshape(shape), element)


def read_sparse_tensor(proto: Any, folder: Path | None) -> Constant:
    """The tensor with all its zeros.

    Raises:
        DataError: it is damaged, or has more than some millions of elements.
    """
    values, indices = read_tensor(proto.values, folder), read_tensor(proto.indices, folder)
    shape = tuple(int(n) for n in proto.dims)
    label = f"sparse tensor {shown(str(proto.values.name))}"
    if not is_possible(shape, 8) or math.prod(shape) > _MAX_DENSE:
        raise DataError(f"{label}: at most {_MAX_DENSE} elements are possible, got shape {shape}")
    places = indices.array
    if places.ndim == 2 and places.shape[1] == len(shape):
        inside = bool(((places >= 0) & (places < np.array(shape))).all())
        places = places @ np.array([math.prod(shape[i + 1 :]) for i in range(len(shape))], np.int64)
    else:
        inside = places.ndim == 1 and bool(((places >= 0) & (places < math.prod(shape))).all())
    if not inside or values.array.shape != places.shape:
        raise DataError(f"{label}: its indices are not those of {values.array.size} elements of shape {shape}")
    dense = np.zeros(math.prod(shape), values.array.dtype)
    dense[places] = values.array
    return Constant(dense.reshape(shape), values.element)


def _type_name(number: int) -> str:
    return {8: "string", 14: "complex64", 15: "complex128", 23: "float4e2m1", 24: "float8e8m0"}.get(
        number, f"number {number}"
    )


def _bytes_of(count: int, element: Element) -> int:
    return -(-count * element.bits // 8)


def _from_bytes(data: bytes, element: Element, count: int, label: str) -> Array:
    wanted = _bytes_of(count, element)
    if len(data) != wanted:
        raise DataError(f"{label}: {count} elements of {element} take {wanted} bytes, it has {len(data)}")
    if element.bits < 8:
        return _unpacked(np.frombuffer(data, np.uint8), element, count)
    if element.is_narrow:
        return _widened(np.frombuffer(data, f"<u{element.bits // 8}"), element)
    array = np.frombuffer(data, element.carrier.newbyteorder("<"))
    if element.name == "bool":
        return np.asarray(np.frombuffer(data, np.uint8) != 0)
    return array.astype(element.carrier, copy=False)


def _from_field(proto: Any, element: Element, count: int, label: str) -> Array:
    field = _FIELDS.get(element.name, "int32_data")
    items = getattr(proto, field)
    wanted = count if element.bits >= 8 else _bytes_of(count, element)
    if len(items) != wanted:
        raise DataError(f"{label}: {count} elements of {element} must be {wanted} in {field}, got {len(items)}")
    if element.bits < 8:
        return _unpacked((np.array(items, np.int64) & 0xFF).astype(np.uint8), element, count)
    if element.is_narrow:
        mask = (1 << element.bits) - 1
        return _widened((np.array(items, np.int64) & mask).astype(f"u{element.bits // 8}"), element)
    return np.array(items, np.dtype(field.removesuffix("_data").replace("double", "float64"))).astype(element.carrier)


def _unpacked(data: Array, element: Element, count: int) -> Array:
    """Integers of two or four bits, the first one in the lowest bits."""
    shifts = np.arange(0, 8, element.bits, dtype=np.uint8)
    wide = ((data[:, None] >> shifts) & ((1 << element.bits) - 1)).reshape(-1)[:count]
    if element.carrier.kind == "i":
        wide = wide.astype(np.int8)
        return np.where(wide > element.limits[1], wide - (1 << element.bits), wide).astype(np.int8)
    return wide


def _widened(bits: Array, element: Element) -> Array:
    """float32 numbers from the bits of a narrow float."""
    if element.name == "float16":
        return np.asarray(bits.view(bits.dtype.str.replace("u", "f")).astype(np.float32))
    if element.name == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(_float8_table(element.name)[bits])


def _float8_table(name: str) -> Array:
    """All 256 numbers of an 8-bit float (ONNX, "Float stored in 8 bits")."""
    exponent_bits = 4 if "e4m3" in name else 5
    mantissa_bits = 7 - exponent_bits
    bias = (1 << (exponent_bits - 1)) - (0 if name.endswith("fnuz") else 1)
    codes = np.arange(256)
    exponents = (codes >> mantissa_bits) & ((1 << exponent_bits) - 1)
    fractions = (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    table = np.where(exponents == 0, fractions * 2.0 ** (1 - bias), (1 + fractions) * 2.0 ** (exponents - bias))
    table = np.where(codes >= 128, -table, table)
    if name.endswith("fnuz"):
        table[0x80] = np.nan
    elif "e4m3" in name:
        table[[0x7F, 0xFF]] = np.nan
    else:
        table[exponents == 31] = np.nan
        table[[0x7C, 0xFC]] = np.inf, -np.inf
    return table.astype(np.float32)


# ---- data in other files ------------------------------------------------------------------------------


def _external_bytes(proto: Any, folder: Path | None, label: str, wanted: int) -> bytes:
    where = {str(entry.key): str(entry.value) for entry in proto.external_data}
    if folder is None:
        raise DataError(f"{label}: its data lie in another file, which is looked for beside a model that has a path")
    path = _path_inside(folder, where.get("location", ""), label)
    offset = _number(where.get("offset", "0"), label, "offset")
    length = _number(where.get("length", str(wanted)), label, "length")
    if length != wanted:
        raise DataError(f"{label}: its shape takes {wanted} bytes, but {length} are said to be in {shown(path.name)}")
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{label}: {shown(path.name)} is no regular file")
        if offset + length > found.st_size:
            raise DataError(
                f"{label}: bytes {offset} to {offset + length} of {shown(path.name)}, which has {found.st_size}"
            )
        file.seek(offset)
        return file.read(length)


def _path_inside(folder: Path, location: str, label: str) -> Path:
    """The file, which must be in the folder, also when links are followed."""
    parts = PurePosixPath(location)
    outside = DataError(f"{label}: its data must lie in the model's folder, got location {shown(location)}")
    if not location or "\0" in location or "\\" in location or parts.is_absolute() or ".." in parts.parts:
        raise outside
    try:
        path = (folder / parts).resolve(strict=True)
    except FileNotFoundError:
        raise DataError(f"{label}: there is no file {shown(location)} beside the model") from None
    except (OSError, RuntimeError, ValueError):
        raise outside from None
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise outside
    return path


def _number(text: str, label: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise DataError(f"{label}: its {what} must be a number, got {shown(text)}")
    return int(text)
