"""What a PyTorch pickle may name: storages, and the functions that lay tensors over them.

Unpickling only collects descriptions (`Storage`, `Tensor`), each checked when it is made; no memory of the
size a file claims is touched before that claim has met the real size of the file. A tensor that does not fit its
storage, or has elements that NumPy lacks, is an `Unreadable`: an error for who asks for it, and for nobody else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.errors import DataError
from minidnn.interop._pickle_objects import ByIdentity, Constructor, Global, Placeholder, check_key
from minidnn.untrusted import shorten

__all__ = ["GLOBALS", "ElementType", "Storage", "Storages", "Tensor", "Unreadable", "decode", "make_array"]

_MAX_RANK = 64  # NumPy's own limit
# Elements of a tensor that is expanded beyond its storage: a copy of it stays small, whatever the file says.
_MAX_EXPANDED = 1 << 24


@dataclass(frozen=True, eq=False)
class ElementType(ByIdentity):
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


@dataclass(frozen=True, eq=False)
class Tensor(ByIdentity):
    """A tensor over a storage; `offset` and `strides` count elements of `type`."""

    storage: Storage
    type: ElementType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Unreadable(ByIdentity):
    """A tensor that cannot be an array.

    Args:
        reason: why.
        origin: the class or function that is not supported, if that is why.
    """

    reason: str
    origin: str | None = None


class Storages:
    """The storages a pickle has named so far, by key."""

    def __init__(self) -> None:
        self.by_key: dict[str, Storage] = {}

    def load(self, identity: Any, *, legacy: bool) -> View | Global:
        """The storage of a persistent id ``('storage', class, key, location, count[, view])``.

        Raises:
            DataError: the id is of another kind, or contradicts an earlier one of the same key.
        """
        if type(identity) is not tuple or not identity or identity[0] != "storage":
            if legacy and type(identity) is tuple and len(identity) == 4 and type(identity[1]) is Global:
                return identity[1]  # a class of layers, beside which the legacy format keeps its source text
            kind = identity[0] if type(identity) is tuple and identity and type(identity[0]) is str else "unknown"
            raise DataError(f"refused persistent id of kind {shorten(kind)!r}: only storages are read")
        if len(identity) != (6 if legacy else 5):
            raise DataError(f"damaged persistent id: {len(identity)} items")
        kind, key, count = identity[1], identity[2], identity[4]
        if type(kind) is not ElementType or kind.name in _DTYPES:
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


def _lay(view: Any, offset: Any, shape: Any, strides: Any, kind: ElementType | None = None) -> Tensor | Unreadable:
    """A tensor over a storage, every element of it inside."""
    if type(view) is not View:
        raise DataError(f"a tensor needs a storage, got a {type(view).__name__}")
    storage = view.storage
    if storage.type.name in _QUANTIZED:
        return Unreadable("quantized elements are unsupported", f"torch.{storage.type.name}")
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
    if elements > max(available, _MAX_EXPANDED):
        raise DataError(f"a tensor of {elements} elements over the {available} of storage {shorten(storage.key)}")
    return Tensor(storage, kind, view.offset + offset, shape, strides)


def _rebuild_tensor(arguments: tuple[Any, ...]) -> Tensor | Unreadable:
    # storage, offset, size, stride
    if len(arguments) != 4:
        raise DataError(f"_rebuild_tensor: {len(arguments)} arguments")
    return _lay(*arguments)


def _rebuild_tensor_v2(arguments: tuple[Any, ...]) -> Tensor | Unreadable:
    # storage, offset, size, stride, requires_grad, backward_hooks, [metadata]
    if len(arguments) not in (6, 7):
        raise DataError(f"_rebuild_tensor_v2: {len(arguments)} arguments")
    if len(arguments) == 7 and arguments[6]:
        raise DataError("a tensor with a pending conjugation or negation; save it after resolve_conj().resolve_neg()")
    return _lay(*arguments[:4])


def _rebuild_tensor_v3(arguments: tuple[Any, ...]) -> Tensor | Unreadable:
    # storage, offset, size, stride, requires_grad, backward_hooks, dtype, [metadata]
    if len(arguments) in (7, 8) and type(arguments[6]) is Global:
        return Unreadable("NumPy has no such elements", str(arguments[6]))
    if len(arguments) not in (7, 8) or type(arguments[6]) is not ElementType or arguments[6].name not in _DTYPES:
        raise DataError("_rebuild_tensor_v3: arguments that do not fit")
    view, offset, shape, strides = arguments[:4]
    return _lay(view, offset, shape, strides, kind=arguments[6])


def _rebuild_parameter(arguments: tuple[Any, ...]) -> Any:
    # data, requires_grad, backward_hooks, [state]
    if len(arguments) not in (3, 4) or type(arguments[0]) not in (Tensor, Unreadable, Placeholder):
        raise DataError("_rebuild_parameter: arguments that do not fit")
    return arguments[0]


def _rebuild_from_type(arguments: tuple[Any, ...]) -> Any:
    # function, subclass, arguments of the function, state
    function, inner = arguments[::2] if len(arguments) == 4 else (None, None)
    if type(inner) is not tuple:
        return Unreadable("arguments that do not fit", "torch._tensor._rebuild_from_type_v2")
    if type(function) is Global:
        return Placeholder(function, inner)
    if type(function) is not Constructor or function not in _TENSORS.values():
        return Unreadable("arguments that do not fit", "torch._tensor._rebuild_from_type_v2")
    return function.build(inner)


def _lazily(name: str, build: Callable[[tuple[Any, ...]], Any]) -> Constructor:
    """A constructor of tensors: what it refuses is an error only for who asks for the tensor."""

    def build_or_note(arguments: tuple[Any, ...]) -> Any:
        try:
            return build(arguments)
        except DataError as error:
            return Unreadable(str(error))

    return Constructor(name, build_or_note)


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
# Their tensors are not read; how long the storages are must be known to pass over them.
_QUANTIZED = {
    kind.name: kind
    for kind in (
        _same("QInt8Storage", "int8"),
        _same("QUInt8Storage", "uint8"),
        _same("QInt32Storage", "int32"),
        _same("QUInt4x2Storage", "uint8"),
        _same("QUInt2x4Storage", "uint8"),
    )
}
# Of the dtypes that PyTorch saves over untyped storages, those that NumPy has too.
_DTYPES = {name: _same(name, name) for name in ("uint16", "uint32", "uint64")}

_TENSORS = {
    ("torch._utils", "_rebuild_tensor"): _lazily("_rebuild_tensor", _rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _lazily("_rebuild_tensor_v2", _rebuild_tensor_v2),
    ("torch._utils", "_rebuild_tensor_v3"): _lazily("_rebuild_tensor_v3", _rebuild_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): _lazily("_rebuild_parameter", _rebuild_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): _lazily("_rebuild_parameter_with_state", _rebuild_parameter),
}

GLOBALS: dict[tuple[str, str], Any] = {
    **_TENSORS,
    ("torch._tensor", "_rebuild_from_type"): Constructor("_rebuild_from_type", _rebuild_from_type),
    ("torch._tensor", "_rebuild_from_type_v2"): Constructor("_rebuild_from_type_v2", _rebuild_from_type),
    ("torch", "Size"): Constructor("torch.Size", _size),
    ("collections", "OrderedDict"): Constructor("OrderedDict", _ordered_dict),
    ("builtins", "set"): Constructor("set", _set),
    ("__builtin__", "set"): Constructor("set", _set),
    **{("torch", name): kind for name, kind in (_STORAGES | _QUANTIZED | _DTYPES).items()},
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
