"""What a PyTorch pickle may name: storages, and the functions that lay tensors over them.

Unpickling only collects descriptions (`Storage`, `Tensor`), each checked when it is made; no memory of the
size a file claims is touched before that claim has met the real size of the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._pickle_machine import Constructor, check_key, shorten

__all__ = ["GLOBALS", "ElementType", "Storage", "Storages", "Tensor", "decode", "make_array"]

_MAX_RANK = 64  # NumPy's own limit


@dataclass(frozen=True)
class ElementType:
    """How the elements of a storage, or of a tensor over raw bytes, lie in the file.

    Args:
        name: PyTorch's name of the storage class or of the dtype.
        stored: the dtype of the bytes; bfloat16 as uint16, bool as uint8, since a file may hold any byte.
        loaded: the dtype of the array that is handed out.
    """

    name: str
    stored: np.dtype[Any]
    loaded: np.dtype[Any]


@dataclass(frozen=True)
class Storage:
    """`count` elements under `key` in the file."""

    key: str
    type: ElementType
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * self.type.stored.itemsize


@dataclass(frozen=True)
class View:
    """Elements `offset` to ``offset + count`` of a storage (files of PyTorch before 0.4 have these)."""

    storage: Storage
    offset: int
    count: int


@dataclass(frozen=True)
class Tensor:
    """A tensor over a storage; `offset` and `strides` count elements of `type`."""

    storage: Storage
    type: ElementType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Storages:
    """The storages a pickle has named so far, by key."""

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}

    def load(self, identity: Any, *, legacy: bool) -> View:
        """The storage of a persistent id ``('storage', class, key, location, count[, view])``.

        Raises:
            DataError: the id is of another kind, or contradicts an earlier one of the same key.
        """
        if type(identity) is not tuple or not identity or identity[0] != "storage":
            kind = identity[0] if type(identity) is tuple and identity and type(identity[0]) is str else "unknown"
            raise DataError(f"refused persistent id of kind {shorten(kind)!r}: only storages are read")
        if len(identity) != (6 if legacy else 5):
            raise DataError(f"damaged persistent id: {len(identity)} items")
        kind, key, count = identity[1], identity[2], identity[4]
        if type(kind) is not ElementType or kind.name not in _STORAGES:
            raise DataError("damaged persistent id: no storage class")
        if type(key) is not str:
            raise DataError("damaged persistent id: the key of a storage is not a string")
        if not _is_count(count):
            raise DataError(f"storage {shorten(key)}: the number of elements is not a natural number")
        storage = Storage(key, kind, count)
        if self.by_key.setdefault(key, storage) != storage:
            raise DataError(f"storage {shorten(key)}: two sizes or types are given for it")
        view = identity[5] if legacy else None
        if view is None:
            return View(storage, 0, count)
        if type(view) is not tuple or len(view) != 3 or not all(map(_is_count, view[1:])) or kind is _UNTYPED:
            raise DataError(f"storage {shorten(key)}: damaged view")
        if view[1] + view[2] > count:
            raise DataError(f"storage {shorten(key)}: a view ends at {view[1] + view[2]} of {count} elements")
        return View(storage, view[1], view[2])


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _counts(what: str, value: Any) -> tuple[int, ...]:
    if type(value) is not tuple or not all(map(_is_count, value)):
        raise DataError(f"a tensor's {what} is not a tuple of natural numbers")
    if len(value) > _MAX_RANK:
        raise DataError(f"a tensor of rank {len(value)}; at most {_MAX_RANK} is read")
    return value


def _lay(view: Any, offset: Any, shape: Any, strides: Any, kind: ElementType | None = None) -> Tensor:
    """A tensor over a storage, every element of it inside and none counted twice."""
    if type(view) is not View:
        raise DataError(f"a tensor needs a storage, got a {type(view).__name__}")
    storage = view.storage
    if kind is None:
        if storage.type is _UNTYPED:
            raise DataError("a tensor without a dtype over an untyped storage")
        kind = storage.type
    elif storage.type is not _UNTYPED:
        raise DataError(f"a tensor of {kind.name} over a {storage.type.name}")
    if not _is_count(offset):
        raise DataError("a tensor's offset is not a natural number")
    shape, strides = _counts("shape", shape), _counts("strides", strides)
    if len(shape) != len(strides):
        raise DataError(f"a tensor has {len(shape)} dimensions and {len(strides)} strides")
    available = view.count * storage.type.stored.itemsize // kind.stored.itemsize
    elements = math.prod(shape)
    if not elements:  # an empty slice keeps an offset, and strides, of no meaning
        return Tensor(storage, kind, 0, shape, (0,) * len(shape))
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if last >= available:
        raise DataError(f"a tensor reaches element {last} of storage {shorten(storage.key)}, which has {available}")
    if elements > available:
        raise DataError(f"a tensor of {elements} elements over the {available} of storage {shorten(storage.key)}")
    return Tensor(storage, kind, view.offset + offset, shape, strides)


def _rebuild_tensor_v2(arguments: tuple[Any, ...]) -> Tensor:
    # storage, offset, size, stride, requires_grad, backward_hooks, [metadata]
    if len(arguments) not in (6, 7):
        raise DataError(f"_rebuild_tensor_v2: {len(arguments)} arguments")
    if len(arguments) == 7 and arguments[6]:
        raise DataError("a tensor with a pending conjugation or negation; save it after resolve_conj().resolve_neg()")
    return _lay(*arguments[:4])


def _rebuild_tensor_v3(arguments: tuple[Any, ...]) -> Tensor:
    # storage, offset, size, stride, requires_grad, backward_hooks, dtype, [metadata]
    if len(arguments) not in (7, 8) or type(arguments[6]) is not ElementType or arguments[6].name not in _DTYPES:
        raise DataError("_rebuild_tensor_v3: arguments that do not fit")
    view, offset, shape, strides = arguments[:4]
    return _lay(view, offset, shape, strides, kind=arguments[6])


def _rebuild_parameter(arguments: tuple[Any, ...]) -> Tensor:
    # data, requires_grad, backward_hooks
    if len(arguments) != 3 or not isinstance(arguments[0], Tensor):
        raise DataError("_rebuild_parameter: arguments that do not fit")
    return arguments[0]


def _size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    if len(arguments) != 1:
        raise DataError(f"torch.Size: {len(arguments)} arguments")
    return _counts("size", tuple(arguments[0]) if type(arguments[0]) is list else arguments[0])


def _ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    # Python 3 writes the items as opcodes of their own, Python 2 as one list of pairs.
    if not arguments:
        return {}
    (pairs,) = arguments if len(arguments) == 1 else (None,)
    if type(pairs) is not list or not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
        raise DataError("OrderedDict: arguments that do not fit")
    return {check_key(key): value for key, value in pairs}


def _set(arguments: tuple[Any, ...]) -> set[Any]:
    if len(arguments) != 1 or type(arguments[0]) is not list:
        raise DataError("set: arguments that do not fit")
    return {check_key(item) for item in arguments[0]}


def _same(name: str, dtype: str) -> ElementType:
    return ElementType(name, np.dtype(dtype), np.dtype(dtype))


_UNTYPED = _same("UntypedStorage", "uint8")
_STORAGES = {
    kind.name: kind
    for kind in (
        _same("DoubleStorage", "float64"),
        _same("FloatStorage", "float32"),
        _same("HalfStorage", "float16"),
        ElementType("BFloat16Storage", np.dtype("uint16"), np.dtype("float32")),
        _same("LongStorage", "int64"),
        _same("IntStorage", "int32"),
        _same("ShortStorage", "int16"),
        _same("CharStorage", "int8"),
        _same("ByteStorage", "uint8"),
        ElementType("BoolStorage", np.dtype("uint8"), np.dtype("bool")),
        _same("ComplexFloatStorage", "complex64"),
        _same("ComplexDoubleStorage", "complex128"),
        _UNTYPED,
    )
}
# Of the dtypes that PyTorch saves over untyped storages, those that NumPy has too.
_DTYPES = {name: _same(name, name) for name in ("uint16", "uint32", "uint64")}

GLOBALS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): Constructor("_rebuild_tensor_v2", _rebuild_tensor_v2),
    ("torch._utils", "_rebuild_tensor_v3"): Constructor("_rebuild_tensor_v3", _rebuild_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): Constructor("_rebuild_parameter", _rebuild_parameter),
    ("torch", "Size"): Constructor("torch.Size", _size),
    ("collections", "OrderedDict"): Constructor("OrderedDict", _ordered_dict),
    ("builtins", "set"): Constructor("set", _set),
    ("__builtin__", "set"): Constructor("set", _set),
    **{("torch", name): kind for name, kind in (_STORAGES | _DTYPES).items()},
    ("torch.storage", "UntypedStorage"): _UNTYPED,
}


def decode(storage: Storage, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The storage's elements in their loaded dtype, in the order of this machine's bytes.

    Args:
        raw: the elements as they lay in the file, ``(count,)``, of the stored dtype in either byte order.
    """
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    if storage.type.name == "BFloat16Storage":  # the upper half of a float32
        widened: np.ndarray[Any, Any] = raw.astype(np.uint32)
        widened <<= 16
        return widened.view(np.float32)
    if storage.type.name == "BoolStorage":
        return raw.astype(np.bool_)
    return raw


def make_array(tensor: Tensor, storage: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The tensor as a view of its decoded storage: tensors that share a storage share memory, as in PyTorch.

    Raises:
        DataError: the shape is beyond what NumPy can hold.
    """
    itemsize = tensor.type.loaded.itemsize
    strides = [stride * itemsize for stride in tensor.strides]
    try:
        return np.ndarray(tensor.shape, tensor.type.loaded, storage.data, tensor.offset * itemsize, strides)
    except (ValueError, OverflowError) as error:
        raise DataError(f"a tensor of shape {tensor.shape}: {error}") from None
