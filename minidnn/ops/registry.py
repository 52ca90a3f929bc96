"""The one registry of operators.

An `Op` says everything the rest of the system needs to know about an operator, once: its name, its
typed attributes with defaults and checks, the names of its inputs, how shapes and dtypes follow from
the inputs, and what it computes (a NumPy reference). Tracing, graph passes, the JSON reader, shape
inference, the fallback executor and the tests all read the same entry.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from minidnn.errors import GraphError, OpError, ShapeError, SizeError
from minidnn.ops.traits import AnchorTraits, ChannelAffine, EpilogueForm, EpilogueStep, Part, Sign
from minidnn.sizes import Number, Size, SizedText, bind, by_example, has_sizes, structure_of

__all__ = ["REQUIRED", "Attr", "Attrs", "Body", "Op", "TensorType", "get_op", "list_ops", "register"]


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED = _Required()


class TensorType(NamedTuple):
    """Shape and dtype of a tensor: all that is known of a value before it is computed.

    Dimensions are ints, or while a network is traced also symbolic sizes (`minidnn.sizes.Size`). Every array has one,
    and plans are found by those of their inputs: a named tuple is made, hashed and compared without a line of Python.
    """

    shape: tuple[Any, ...]
    dtype: np.dtype[Any]

    @staticmethod
    def of(array: Any) -> TensorType:
        return TensorType(tuple(int(n) for n in array.shape), np.dtype(array.dtype))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def is_identical(self, other: TensorType) -> bool:
        """Whether either can stand for both: equal, and sizes are of the same trace and have the same examples."""
        return self is other or (
            self.dtype == other.dtype
            and len(self.shape) == len(other.shape)
            and all(map(_is_identical, self.shape, other.shape))
        )

    def is_no_larger_than(self, other: TensorType) -> bool:
        """Whether it is of the same shape, where that is seen without a look at sizes that are symbols."""
        ours, theirs = self.shape, other.shape
        is_same = ours is theirs or (len(ours) == len(theirs) and all(map(is_, ours, theirs)))
        return is_same and self.dtype.itemsize <= other.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def _is_identical(left: Any, right: Any) -> bool:
    if isinstance(left, Size):
        return left.is_identical(right)
    return type(left) is type(right) and bool(left == right)


def _parse_literal(text: str) -> Any:
    if isinstance(text, SizedText):
        return text.value
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _to_bool(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_, int, np.integer)):
        return bool(value)
    if isinstance(value, str) and value.lower() in {"true", "false", "1", "0"}:
        return value.lower() in {"true", "1"}
    raise ValueError(value)


def _to_int(value: Any) -> Any:
    if isinstance(value, str):
        value = _parse_literal(value)
    if isinstance(value, Size):
        return value
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    raise ValueError(value)


def _to_float(value: Any) -> Any:
    if isinstance(value, SizedText):
        value = value.value
    if isinstance(value, (Size, Number)):
        return value
    if isinstance(value, (int, float, np.bool_, np.integer, np.floating, str)):
        return float(value)
    raise ValueError(value)


def _to_ints(value: Any) -> tuple[int | None, ...]:
    if isinstance(value, str):
        value = _parse_literal(value)
    if isinstance(value, (int, np.integer, Size)):
        value = (value,)
    if isinstance(value, (tuple, list, np.ndarray)):
        return tuple(None if v is None else _to_int(v) for v in value)
    raise ValueError(value)


def _to_tree(value: Any) -> Any:
    """Nested tuples of ints (``pad_width``), or a scalar."""
    if isinstance(value, str):
        value = _parse_literal(value)
    if isinstance(value, (tuple, list)):
        return tuple(_to_tree(v) for v in value)
    if value is None or isinstance(value, (bool, int, float, str, Size, Number)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(value)


def _to_str(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


class Body:
    """A graph that is an attribute: what a loop or a branch computes. Immutable, and hashable."""


def _to_body(value: Any) -> Body:
    if not isinstance(value, Body):
        raise ValueError(value)
    return value


def _to_dtype(value: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except SyntaxError:  # NumPy parses a list of fields
        raise ValueError(value) from None
    if dtype.kind not in "biufc":
        raise ValueError(value)
    return dtype


def _shown(value: Any) -> str:
    """A value that may come from a file, fit for a message."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "bool": _to_bool,
    "int": _to_int,
    "float": _to_float,
    "ints": _to_ints,
    "str": _to_str,
    "dtype": _to_dtype,
    "tree": _to_tree,
    "graph": _to_body,
}


@dataclass(frozen=True)
class Attr:
    """One typed attribute of an operator.

    Args:
        name: the attribute's name, as users pass it.
        kind: ``bool``, ``int``, ``float``, ``str``, ``ints`` (a tuple of ints, or of ints and None),
            ``dtype``, ``tree`` (nested tuples of numbers) or ``graph`` (a `Body`, which files have as a subgraph of
            the node).
        default: the default; `REQUIRED` where there is none. A default of None makes None legal.
        choices: the legal values, where they can be listed.
        low: the smallest legal number (of every element, for ``ints``).
        optional: whether None is legal though it is not the default.
    """

    name: str
    kind: str
    default: Any = REQUIRED
    choices: tuple[Any, ...] | None = None
    low: float | None = None
    optional: bool = False

    def convert(self, op: str, value: Any) -> Any:
        """The value in its declared type; accepts the strings of MXNet's JSON too."""
        if value is None or (isinstance(value, str) and value == "None"):
            if self.default is None or self.optional:
                return None
            raise OpError(f"{op}: attribute {self.name!r} must be a {self.kind}, got None")
        try:
            result = _CONVERTERS[self.kind](value)
        except (ValueError, TypeError, OverflowError):
            raise OpError(f"{op}: attribute {self.name!r} must be a {self.kind}, got {_shown(value)}") from None
        if self.choices is not None and result not in self.choices:
            raise OpError(f"{op}: attribute {self.name!r} must be one of {list(self.choices)}, got {_shown(value)}")
        if self.low is not None:
            numbers = result if isinstance(result, tuple) else (result,)
            if any(n is not None and n < self.low for n in numbers):
                raise OpError(f"{op}: attribute {self.name!r} must be at least {self.low}, got {_shown(value)}")
        return result


class Attrs(Mapping[str, Any]):
    """Checked attributes of one node: an immutable, hashable mapping that also reads as ``attrs.kernel``."""

    __slots__ = ("_has_sizes", "_hash", "_items")

    def __init__(self, items: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_items", dict(items))
        object.__setattr__(self, "_hash", None)
        object.__setattr__(self, "_has_sizes", None)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def get(self, key: str, default: Any = None) -> Any:
        return self._items.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._items[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("attributes of a node are immutable; use replace()")

    def __hash__(self) -> int:
        if self._hash is None:
            object.__setattr__(self, "_hash", hash(frozenset((k, structure_of(v)) for k, v in self._items.items())))
        return self._hash  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attrs) and self._items == other._items

    def __repr__(self) -> str:
        return f"Attrs({self._items})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Attrs, (self._items,))

    def replace(self, **changes: Any) -> Attrs:
        return Attrs({**self._items, **changes})

    @property
    def has_sizes(self) -> bool:
        """Whether a value depends on the sizes of a network's inputs."""
        if self._has_sizes is None:
            object.__setattr__(self, "_has_sizes", any(map(has_sizes, self._items.values())))
        return self._has_sizes  # type: ignore[no-any-return]


InferFn = Callable[[Attrs, Sequence[TensorType]], Sequence[TensorType]]
ReferenceFn = Callable[..., Any]
Condition = Callable[[Attrs], bool]


@dataclass(frozen=True)
class Op:
    """Everything there is to know about one operator.

    Args:
        name: snake_case name, unique.
        infer: ``(attrs, input types) -> output types``; raises `ShapeError`, `TypeMismatchError` or
            `OpError` on inputs that do not fit. It is the check in front of every kernel.
        reference: ``(attrs, *arrays) -> array or tuple of arrays``, in plain NumPy: what the op means.
        inputs: names of the inputs, or a function of the attributes that gives them.
        attrs: the typed attributes.
        kind: how passes and lowering may treat it:
            ``elementwise`` (output element i depends on the broadcast inputs' elements i only),
            ``anchor`` (a matmul-like op whose kernel can carry an elementwise tail),
            ``normalization``, ``pooling``, ``reduction``, ``shape`` (moves data, computes nothing),
            ``other``.
        parameters: those inputs that hold weights: constant during inference.
        infer_parameters: ``(attrs, data type) -> {input name: shape}``, for deferred shapes.
        mxnet: names of the same operator in MXNet's symbol JSON.
        outputs: number of outputs, or a function of the attributes that gives it.
        check: a further check of the attributes together; raises `OpError`, or gives the attributes
            completed where a default depends on another attribute (``stride`` on the rank of ``kernel``).
        is_random: whether its results are drawn from the process's generator. Such an operation is recorded even
            without traced inputs, and computed once in each run: passes neither fold nor merge it.
        is_dynamic: whether the first dimension of its last output depends on values. Its attribute ``size`` fixes that
            number; with None inference has no result, and whoever runs the graph plans what follows when it is found.
        label: the word for it in names of fused nodes; empty for its own name. ``act`` marks an activation.
        anchor: what kernels with an epilogue are about, of an operator that has one.
        epilogue: what it is in such an epilogue, by its attributes; None if it cannot be part of one.
        affine: of a normalization that is a factor and a summand for each channel.
        nonnegative: when its results are nowhere negative; None: that is not known.
        lowest: a number below which no result lies, close to the lowest one, of an operator of one long side; by the
            attributes, None: there is none.
        is_identity: whether it gives its input back, wherever the dtype stays the same.
        keeps_order: whether all elements stay in row-major order, so that only the shape changes.
        scale_transparent: whether it does the same with the integers of a quantized tensor, whose scale stays.
        keeps_samples: of such an operator, whether each index of the result's first axis comes from the same one of
            the data alone.
        moves_axes: and whether the result's axes are others than the data's, so that scales of samples take the same
            way as the data.
        shares_scale: as `scale_transparent`, for several tensors that have to have one scale.
        int8_in_full_mode: whether MXNet's quantization mode ``full`` has it read int8 where it can.
        int8_when_tuned: whether ``calib_mode='tuned'`` has it in int8, too, between operations that are: what computes
            reads and stores int8, what moves elements moves the integers. Small errors of its inputs must stay small.
        table: the input of which it gives rows; empty if there is none.
        auxiliary: those parameters that hold running statistics.
        decomposition: the operations that together compute the same, for formats that lack this one.
        expansion: the same where the operations depend on the types of the inputs: what they are, and which of the
            values (inputs, then results) are the outputs; None where it is not made of others. See
            `minidnn.ops.composed`.
    """

    name: str
    infer: InferFn
    reference: ReferenceFn
    inputs: tuple[str, ...] | Callable[[Attrs], tuple[str, ...]]
    attrs: tuple[Attr, ...] = ()
    kind: str = "other"
    parameters: frozenset[str] = frozenset()
    infer_parameters: Callable[[Attrs, TensorType], dict[str, tuple[int, ...]]] | None = None
    mxnet: tuple[str, ...] = ()
    outputs: int | Callable[[Attrs], int] = 1
    check: Callable[[Attrs], Attrs | None] | None = None
    is_random: bool = False
    is_dynamic: bool = False
    label: str = ""
    anchor: AnchorTraits | None = None
    epilogue: EpilogueForm | None = None
    affine: ChannelAffine | None = None
    nonnegative: Sign | None = None
    lowest: Callable[[Attrs], float | None] | None = None
    is_identity: bool = False
    keeps_order: bool | Condition = False
    scale_transparent: bool | Condition = False
    keeps_samples: bool | Condition = False
    moves_axes: bool = False
    shares_scale: bool = False
    int8_in_full_mode: bool = False
    int8_when_tuned: bool | Condition = False
    table: str = ""
    auxiliary: frozenset[str] = frozenset()
    decomposition: Callable[[Attrs], tuple[Part, ...]] | None = None
    expansion: Callable[[Attrs, Sequence[TensorType]], tuple[Sequence[Part], Sequence[int]] | None] | None = None
    _attr_by_name: dict[str, Attr] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_attr_by_name", {a.name: a for a in self.attrs})

    def input_names(self, attrs: Attrs) -> tuple[str, ...]:
        return self.inputs(attrs) if callable(self.inputs) else self.inputs

    def num_outputs(self, attrs: Attrs) -> int:
        return self.outputs(attrs) if callable(self.outputs) else self.outputs

    @property
    def word(self) -> str:
        """What names of fused nodes call it."""
        return self.label or self.name

    @property
    def is_activation(self) -> bool:
        return self.label == "act"

    def epilogue_step(self, attrs: Attrs) -> EpilogueStep | None:
        """What it is in a kernel's epilogue with these attributes; None if it cannot be part of one."""
        return None if self.epilogue is None else self.epilogue(attrs)

    def holds(self, trait: bool | Condition, attrs: Attrs) -> bool:
        """A trait that may depend on the attributes."""
        return trait(attrs) if callable(trait) else trait

    def make_attrs(self, values: Mapping[str, Any]) -> Attrs:
        """Attributes checked, converted and completed with their defaults.

        Raises:
            OpError: an unknown attribute, a missing one, or a value that does not fit.
        """
        return (
            by_example(self._make_attrs, values) if any(map(has_sizes, values.values())) else self._make_attrs(values)
        )

    def _make_attrs(self, values: Mapping[str, Any]) -> Attrs:
        unknown = [name for name in values if name not in self._attr_by_name]
        if unknown:
            raise OpError(f"{self.name}: unknown attribute {unknown[0]!r}; it has {sorted(self._attr_by_name)}")
        result: dict[str, Any] = {}
        for attr in self.attrs:
            if attr.name in values:
                result[attr.name] = attr.convert(self.name, values[attr.name])
            elif attr.default is REQUIRED:
                raise OpError(f"{self.name}: attribute {attr.name!r} is required")
            else:
                result[attr.name] = attr.default
        made = Attrs(result)
        completed = self.check(made) if self.check is not None else None
        return made if completed is None else completed

    def bind_attrs(self, attrs: Attrs, sizes: Mapping[str, Any]) -> Attrs:
        """The attributes for these sizes, checked.

        Raises:
            OpError: with these numbers they are not what the operator allows.
        """
        return (
            self.make_attrs({name: bind(value, sizes) for name, value in attrs.items()}) if attrs.has_sizes else attrs
        )

    def has_unknown_size(self, attrs: Attrs) -> bool:
        """Whether the types of its results are unknown before they are computed."""
        return self.is_dynamic and attrs.size is None

    def infer_types(self, attrs: Attrs, types: Sequence[TensorType]) -> tuple[TensorType, ...]:
        """Output types; the number of inputs is checked here, the rest by the op's own `infer`.

        Raises:
            OpError: the inputs do not fit.
            SizeError: the size depends on values.
        """
        if self.has_unknown_size(attrs):
            self.infer_types(attrs.replace(size=0), types)
            raise SizeError(f"{self.name}: the size of the result depends on values")
        names = self.input_names(attrs)
        if len(types) != len(names):
            raise OpError(f"{self.name}: expected {len(names)} inputs {list(names)}, got {len(types)}")
        outputs = tuple(self.infer(attrs, types))
        for output in outputs:
            if output.ndim > _MAX_RANK:
                raise ShapeError(f"{self.name}: at most {_MAX_RANK} dimensions are possible, got {output}")
            if not any(map(output.is_no_larger_than, types)) and output.nbytes > _MAX_BYTES:
                raise ShapeError(f"{self.name}: an output of {output} would take {output.nbytes} bytes")
        return outputs

    def compute(self, attrs: Attrs, *arrays: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
        """The reference result, always as a tuple of arrays of the inferred types.

        Infinity and NaN come without NumPy's warnings, as from compiled code.

        Raises:
            OpError: the inputs do not fit.
            SizeError: the result has another size than the attribute ``size`` says.
        """
        types = [TensorType.of(a) for a in arrays]
        expected = self.infer_types(attrs.replace(size=attrs.size or 0) if self.is_dynamic else attrs, types)
        with np.errstate(all="ignore"):
            result = self.reference(attrs, *arrays)
            results = result if isinstance(result, tuple) else (result,)
            if self.is_dynamic:
                expected = self.infer_types(attrs.replace(size=self._found_size(attrs, results)), types)
            return tuple(np.asarray(r, dtype=t.dtype).reshape(t.shape) for r, t in zip(results, expected, strict=True))

    def _found_size(self, attrs: Attrs, results: Sequence[Any]) -> int:
        found = len(results[-1])
        if attrs.size not in (None, found):
            raise SizeError(
                f"{self.name}: {found} elements were found, but the graph was traced for {attrs.size}: "
                "forward() reads a shape that depends on their number"
            )
        return found


# What a 48-bit address space holds: below it no offset a kernel computes in int64 can overflow.
_MAX_BYTES = 1 << 47
_MAX_RANK = 32

_OPS: dict[str, Op] = {}
_MXNET_NAMES: dict[str, str] = {}


def register(op: Op) -> Op:
    """Add an operator, or nothing at all.

    Raises:
        ValueError: its name or one of its MXNet names is taken.
    """
    if op.name in _OPS:
        raise ValueError(f"operator {op.name!r} is registered twice")
    for name in op.mxnet:
        if name in _MXNET_NAMES:
            raise ValueError(f"MXNet name {name!r} is taken by {_MXNET_NAMES[name]!r}")
    _OPS[op.name] = op
    _MXNET_NAMES.update(dict.fromkeys(op.mxnet, op.name))
    return op


def get_op(name: str) -> Op:
    """The operator of that name, or of that MXNet name.

    Raises:
        GraphError: there is none.
    """
    op = _OPS.get(name) or _OPS.get(_MXNET_NAMES.get(name, ""))
    if op is None:
        raise GraphError(f"unknown operator {name!r}")
    return op


def list_ops() -> tuple[str, ...]:
    return tuple(sorted(_OPS))
