"""What rules write a model with: nodes of ONNX, constants, and arithmetic of sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidnn.errors import GraphError
from minidnn.ops.registry import Attrs, TensorType
from minidnn.sizes import Number, Size, has_sizes

__all__ = ["EXPORT", "FROM_ONNX", "OPSET", "ExportError", "Product", "Tensor", "Writer", "export_rule"]

OPSET = 21
# What a version of ONNX's file format knows that set of operators.
IR_VERSION = 10

# Numbers of TensorProto.DataType by the names of dtypes.
FROM_ONNX = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9}
# TensorProto.BFLOAT16, which NumPy has no dtype for.
_BFLOAT16 = 16
FROM_ONNX |= {"float16": 10, "float64": 11, "uint32": 12, "uint64": 13}


class ExportError(GraphError):
    """A graph has something that ONNX cannot say, or that nothing here writes."""


@dataclass(frozen=True)
class Product:
    """A product of quantized tensors whose scale is not known yet: the node that comes next brings it.

    Args:
        write: gives the product as floats, for the scale of the data and those of the weights.
    """

    write: Callable[[Tensor, Tensor | None], str]


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Args:
        name: in the model.
        type: its type; sizes may be symbols.
        array: its elements where they are a constant.
        product: what it is instead, of integers that the model does not have.
    """

    name: str
    type: TensorType
    array: np.ndarray[Any, Any] | None = None
    product: Product | None = None

    @property
    def ndim(self) -> int:
        return self.type.ndim

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.type.dtype


# By the signs of `Number`.
_REAL_ARITHMETIC = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "**": "Pow"}

Rule = Callable[["Writer", Attrs, Sequence[Tensor], Sequence[TensorType]], Any]

# By our operators' names.
EXPORT: dict[str, Rule] = {}


def export_rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for operators of these names; it gives the name of its result, or a list of them."""

    def enter(function: Rule) -> Rule:
        for name in names:
            assert name not in EXPORT, name
            EXPORT[name] = function
        return function

    return enter


class Writer:
    """A model in the making.

    Args:
        helper: the module ``onnx.helper``.
        where: for each symbol an input and the axis that it is the size of.
    """

    def __init__(self, helper: Any, where: dict[str, tuple[str, int]]) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.label = ""
        self.op = ""
        self._helper, self._where = helper, where
        self._names: set[str] = set()
        self._known: dict[Any, str] = {}

    # ---- names

    def reserve(self, name: str) -> None:
        self._names.add(name)

    def fresh(self, text: str) -> str:
        """A name that nothing else has."""
        name, number = text, 0
        while name in self._names:
            number += 1
            name = f"{text}_{number}"
        self._names.add(name)
        return name

    def fail(self, why: str) -> Any:
        raise ExportError(f"layer {self.label!r} (operator {self.op}): {why}")

    # ---- nodes

    def all(self, op: str, *inputs: Tensor | str | None, count: int = 1, **attrs: Any) -> list[str]:
        """The names of a node's results."""
        names = ["" if x is None else x if isinstance(x, str) else self.name_of(x) for x in inputs]
        while names and not names[-1]:
            names.pop()
        given = {name: value for name, value in attrs.items() if value is not None}
        outputs = [self.fresh(f"{self.label}:{op}") for _ in range(count)]
        self.nodes.append(self._helper.make_node(op, names, outputs, name=self.fresh(f"{self.label}/{op}"), **given))
        return outputs

    def node(self, op: str, *inputs: Tensor | str | None, **attrs: Any) -> str:
        return self.all(op, *inputs, **attrs)[0]

    def name_of(self, x: Tensor) -> str:
        if x.product is not None:
            self.fail("sums of products of bytes are read by a node that ONNX cannot have behind them")
        return x.name

    # ---- constants

    def constant(self, value: Any, dtype: Any = None, name: str = "") -> str:
        """A constant, one for all that are alike."""
        array = np.asarray(value) if dtype is None else np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 and not name else None
        if key is None or key not in self._known:
            made = self.fresh(name or "constant")
            self.constants[made] = np.array(array)
            if key is None:
                return made
            self._known[key] = made
        return self._known[key]

    def bfloat16_constant(self, bits: np.ndarray[Any, Any], name: str) -> str:
        """A constant of bfloat16, of these bits."""
        return self.constant(bits.view(self._helper.tensor_dtype_to_np_dtype(_BFLOAT16)), name=f"{name}:bfloat16")

    def number(self, value: Any, dtype: Any) -> str:
        """A number without axes; one that depends on sizes is computed."""
        if not has_sizes(value):
            return self.constant(np.asarray(value).astype(dtype))
        return self._cast(self._real(value) if isinstance(value, Number) else self._scalar(value), dtype)

    def _real(self, value: Any) -> str:
        """A number that depends on sizes, as float64."""
        if isinstance(value, Number):
            return self.node(_REAL_ARITHMETIC[value.sign], *map(self._real, value.operands))
        if isinstance(value, Size):
            return self._cast(self._scalar(value), np.float64)
        return self.constant(float(value), np.float64)

    def ints(self, values: Sequence[Any]) -> str:
        """A vector of integers and sizes."""
        if not has_sizes(tuple(values)):
            return self.constant([int(n) for n in values], np.int64)
        parts = [self.size(n) for n in values]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    # ---- sizes

    def size(self, value: Any) -> str:
        """An integer or a size as a vector of one element."""
        if isinstance(value, Number):
            self.fail(f"{value} is computed of sizes by more than whole numbers, which is not supported")
        if not isinstance(value, Size):
            return self.constant([int(value)], np.int64)
        return self._polynomial(value.terms)

    def _scalar(self, value: Any) -> str:
        return self.node("Reshape", self.size(value), self.constant([], np.int64))

    def _polynomial(self, terms: Any) -> str:
        if terms in self._known:
            return self._known[terms]
        total = ""
        for atoms, count in terms:
            product = self.constant([count], np.int64) if count != 1 or not atoms else ""
            for atom in atoms:
                factor = self._atom(atom)
                product = self.node("Mul", product, factor) if product else factor
            total = self.node("Add", total, product) if total else product
        made = total or self.constant([0], np.int64)
        self._known[terms] = made
        return made

    def _atom(self, atom: Any) -> str:
        if atom.kind == "symbol":
            if atom.name not in self._where:
                self.fail(f"size {atom.name} is that of no input")
            name, axis = self._where[atom.name]
            key = "size", name, axis
            if key not in self._known:
                self._known[key] = self.node("Shape", name, start=axis, end=axis + 1)
            return self._known[key]
        left, right = self._polynomial(atom.left), self._polynomial(atom.right)
        # Sizes are not negative, but differences of them may be: ONNX's Mod rounds down as Python does, Div does not.
        rest = self.node("Mod", left, right)
        return rest if atom.kind == "%" else self.node("Div", self.node("Sub", left, rest), right)

    # ---- helpers

    def _cast(self, name: str, dtype: Any) -> str:
        return self.node("Cast", name, to=self.element(dtype))

    def element(self, dtype: Any) -> int:
        name = np.dtype(dtype).name
        if name not in FROM_ONNX:
            self.fail(f"elements of dtype {name} are not supported")
        return FROM_ONNX[name]

    def cast(self, x: Tensor, dtype: Any) -> str:
        """The name of a value in a dtype."""
        return self.name_of(x) if x.dtype == np.dtype(dtype) else self._cast(self.name_of(x), dtype)

    def reshaped(self, name: str, shape: Sequence[Any]) -> str:
        """The value in a shape; one size that is not known needs no arithmetic."""
        unknown = [i for i, n in enumerate(shape) if has_sizes(n)]
        if len(unknown) == 1 and all(has_sizes(n) or n > 0 for n in shape):
            return self.node("Reshape", name, self.ints([-1 if i in unknown else n for i, n in enumerate(shape)]))
        zero = any(not has_sizes(n) and n == 0 for n in shape)
        return self.node("Reshape", name, self.ints(shape), allowzero=1 if zero else None)

    def transposed(self, name: str, axes: Sequence[int]) -> str:
        return name if list(axes) == list(range(len(axes))) else self.node("Transpose", name, perm=list(axes))

    def squeezed(self, name: str, axes: Sequence[int]) -> str:
        return self.node("Squeeze", name, self.ints(axes)) if axes else name

    def unsqueezed(self, name: str, axes: Sequence[int]) -> str:
        return self.node("Unsqueeze", name, self.ints(axes)) if axes else name

    def part(self, name: str, axis: int, begin: Any, end: Any, step: int = 1) -> str:
        """A stretch of an axis."""
        far = np.iinfo(np.int64).max
        first = (0 if step > 0 else far) if begin is None else begin
        last = (far if step > 0 else -far) if end is None else end
        return self.node("Slice", name, self.ints([first]), self.ints([last]), self.ints([axis]), self.ints([step]))
