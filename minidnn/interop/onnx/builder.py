"""Operations of a model into nodes of a graph, or into numbers where everything they read is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidnn.errors import GraphError, SizeError
from minidnn.interop.onnx.elements import Element
from minidnn.interop.onnx.model import Constant
from minidnn.interop.onnx.values import Value, known, object_array, of_sizes
from minidnn.ir.graph import Entry, Graph, Node, make_node
from minidnn.ir.trace import Trace
from minidnn.ops.registry import Attrs, TensorType, get_op
from minidnn.sizes import Number, Size, by_example, has_sizes

__all__ = ["Builder", "FindValues", "NeedsValuesError", "elements_of"]

Array = np.ndarray[Any, Any]
FindValues = Callable[[Graph], Sequence[Array]]

# More elements than shapes, indices and the like have: what has more is left to the passes, which bound what they make.
_MAX_FOLDED = 1 << 14

# The same for arrays in which each element is an object.
_MAX_SIZED = 1 << 10

# Operators that move elements, or compute on each in a way that sizes know too: their references do it with objects.
_MOVES = frozenset(
    [
        "reshape",
        "npx_reshape",
        "expand_dims",
        "squeeze",
        "transpose",
        "slice",
        "slice_axis",
        "split",
        "concatenate",
        "stack",
        "take",
        "index",
        "broadcast_to",
        "tile",
        "repeat",
        "flip",
        "identity",
    ]
)
_ARITHMETIC = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "floor_divide",
        "truncate_divide",
        "mod",
        "maximum",
        "minimum",
        "negative",
        "abs",
        "sum",
        "prod",
        "max",
        "min",
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "true_divide",
        "where",
        "floor",
        "ceil",
        "cast",
        "logical_not",
        "logical_and",
        "logical_or",
        "power",
        "sqrt",
        "square",
    ]
)


class NeedsValuesError(SizeError):
    """What a graph is like depends on values, and there are no values yet."""


class Builder:
    """Makes nodes in a trace.

    Args:
        trace: where they are recorded.
        find_values: the values of entries in the call that the graph is made for; None if there is none.
    """

    def __init__(self, trace: Trace[Value], find_values: FindValues | None) -> None:
        self.trace = trace
        self._find_values = find_values
        self._checks: list[Entry] = []
        self._fixed: dict[Entry, Value] = {}
        self._made: dict[int, tuple[Value, Value]] = {}
        # Names of constants of the file that something was computed from.
        self.folded: set[str] = set()

    def constant(self, constant: Constant, name: str = "") -> Value:
        return Value(TensorType.of(constant.array), constant.element, constant.array, name)

    def input(self, name: str, type_: TensorType, element: Element) -> Value:
        """An input, as its carrier."""
        value = self.trace.input(name, type_)
        if type_.dtype != element.carrier:
            (value,) = self.trace.record(get_op("cast"), get_op("cast").make_attrs({"dtype": element.carrier}), [value])
        return value.as_element(element)

    # ---- operations

    def emit(self, op_name: str, *inputs: Value, **attrs: Any) -> Value:
        """The result of an operation that has one."""
        return self.emit_all(op_name, *inputs, **attrs)[0]

    def emit_all(self, op_name: str, *inputs: Value, **attrs: Any) -> tuple[Value, ...]:
        """The results of an operation.

        Raises:
            OpError: attributes or inputs do not fit.
        """
        op = get_op(op_name)
        made = op.make_attrs(attrs)
        folded = self._fold(op_name, made, inputs)
        if folded is not None:
            self.folded.update(value.name for value in inputs if value.name)
        else:
            if op.has_unknown_size(made) and self._find_values is None:
                raise NeedsValuesError(f"{op_name}: the size of its result depends on values")
            folded = self.trace.record(op, made, [self.traced(value) for value in inputs])
        return tuple(self._inherit(value, inputs) for value in folded)

    def _inherit(self, result: Value, inputs: Sequence[Value]) -> Value:
        """The result as what its inputs are, where these are carried by a wider type."""
        same = [v.element for v in inputs if v.dtype == result.dtype]
        narrow = [e for e in same if e.is_narrow]
        # A factor or the like of a rule's own is of no type in particular.
        return result.as_element(narrow[0]) if narrow else result

    def _fold(self, op_name: str, attrs: Attrs, inputs: Sequence[Value]) -> tuple[Value, ...] | None:
        """The results as numbers, if all inputs are and there are not many."""
        op = get_op(op_name)
        if not all(v.is_known and v.array is not None and v.array.size <= _MAX_FOLDED for v in inputs):
            return None
        if op.is_random or (attrs.has_sizes and op_name not in _MOVES | {"full", "arange"}):
            return None
        if op.is_dynamic and not any(v.is_sized for v in inputs):
            return tuple(map(known, op.compute(attrs, *(v.array for v in inputs if v.array is not None))))
        types = by_example(op.infer_types, attrs, [v._type for v in inputs])
        if any(has_sizes(t.shape) or math.prod(t.shape) > _MAX_FOLDED for t in types):
            return None
        arrays = [v.array for v in inputs if v.array is not None]
        if not any(v.is_sized for v in inputs) and not attrs.has_sizes:
            return tuple(map(known, op.compute(attrs, *arrays)))
        if any(math.prod(t.shape) > _MAX_SIZED for t in types):
            return None
        results = _with_sizes(op_name, attrs, arrays, types)
        if results is None:
            return None
        return tuple(
            of_sizes(_flat(result), type_.dtype, type_.shape) for result, type_ in zip(results, types, strict=True)
        )

    def traced(self, value: Value) -> Value:
        """The value as something that a node can read."""
        if value.array is None:
            return value
        if value.is_sized:
            return self._materialized(value)
        if value.name:
            return self.trace.parameter(value.name, value).as_element(value.element)
        return value

    def _materialized(self, value: Value) -> Value:
        """Numbers that follow from sizes as an array of the graph."""
        key = id(value)
        if key not in self._made:
            assert value.array is not None
            full = get_op("full")
            attrs = [{"shape": (1,), "value": _real(x), "dtype": value.dtype} for x in value.array.reshape(-1)]
            parts = [self.trace.record(full, full.make_attrs(a), [])[0] for a in attrs]
            whole = parts[0] if len(parts) == 1 else self.emit("concatenate", *parts, num_args=len(parts), axis=0)
            self._made[key] = value, self.emit("reshape", whole, newshape=value._type.shape)
        return self._made[key][1]

    # ---- values that decide

    def fixed(self, value: Value, what: str) -> Value:
        """The value with known elements: those of the call, which the graph is for from now on.

        Raises:
            NeedsValuesError: there is no call.
        """
        if value.array is not None:
            return value
        entry = value._entry
        if entry not in self._fixed:
            if self._find_values is None:
                raise NeedsValuesError(f"{what} depends on values, which are there when the network is called")
            (array,) = self._find_values(Graph([entry]))
            node = make_node(
                "expect_values",
                self.trace.fresh_name("expected"),
                [entry],
                {"expected": tuple(array.reshape(-1).tolist()), "shape": array.shape},
            )
            self._checks.append(node[0])
            self._fixed[entry] = known(array, value.element)
        return self._fixed[entry]

    def finish(self, outputs: Sequence[Value], names: Sequence[str]) -> Graph:
        """The graph of the outputs, in the dtypes in which a model gives them."""
        given = []
        for value in outputs:
            traced = self.traced(value)
            outside = value.element.outside
            if traced.dtype != outside:
                traced = self.emit("cast", traced, dtype=outside)
            elif value.element.is_narrow and value.element.is_float:
                traced = self.emit("round_float", traced, kind=value.element.name, saturate=False)
            given.append(traced)
        graph = self.trace.graph(given)
        if not self._checks:
            return graph
        first, *others = graph.outputs
        inputs = [first, *self._checks]
        depend: Node = make_node("depend", self.trace.fresh_name("depend"), inputs, {"num_args": len(inputs)})
        return Graph([depend[0], *others])


def elements_of(value: Value) -> list[Any]:
    """The elements of a known value: numbers and sizes."""
    assert value.array is not None
    return list(value.array.reshape(-1)) if value.is_sized else value.array.reshape(-1).tolist()


def _real(item: Any) -> Any:
    return item if isinstance(item, (Size, Number)) else float(item)


def _with_sizes(
    op_name: str, attrs: Attrs, arrays: Sequence[Array], types: Sequence[TensorType]
) -> tuple[Any, ...] | None:
    """What an operator makes of arrays with sizes in them; None if that has to be left to a run."""
    if op_name in ("full", "arange"):
        return _made_of_sizes(op_name, attrs, types[0])
    if op_name not in _MOVES and op_name not in _ARITHMETIC:
        return None
    if op_name in ("floor", "ceil"):
        return (_each(getattr(math, op_name), arrays[0]),)
    if op_name == "cast":
        return _cast(arrays[0], types[0].dtype)
    if op_name == "sqrt":
        return (_each(lambda x: x**0.5, arrays[0]),)
    if op_name in ("floor_divide", "truncate_divide", "mod") and any(
        not isinstance(x, Size) and x == 0 for x in arrays[1].reshape(-1)
    ):
        raise GraphError(f"{op_name}: a size is divided by zero")
    wide = [a.astype(object) for a in arrays]
    if op_name == "where":
        return (np.where(arrays[0].astype(bool), wide[1], wide[2]),)
    if op_name == "truncate_divide":
        return (np.frompyfunc(_truncated, 2, 1)(*wide),)
    if op_name in ("maximum", "minimum"):
        choose = max if op_name == "maximum" else min
        return (np.frompyfunc(lambda a, b: choose(a, b), 2, 1)(*wide),)
    if op_name in ("index", "take"):
        wide[1:] = [a.astype(np.int64) for a in arrays[1:]]
    result = get_op(op_name).reference(attrs, *wide)
    return result if isinstance(result, tuple) else (result,)


def _made_of_sizes(op_name: str, attrs: Attrs, type_: TensorType) -> tuple[Any, ...] | None:
    if op_name == "arange":
        return None
    return (object_array([attrs.value] * math.prod(type_.shape), type_.shape),) if type_.dtype.kind == "i" else None


def _flat(result: Any) -> list[Any]:
    """The elements of a result; of arrays without axes NumPy gives the one element itself."""
    return list(result.reshape(-1)) if isinstance(result, np.ndarray) else [result]


def _each(function: Callable[[Any], Any], array: Array) -> Array:
    return object_array(map(function, array.reshape(-1)), array.shape)


def _cast(array: Array, dtype: np.dtype[Any]) -> tuple[Any, ...] | None:
    if dtype.kind == "f":
        return (array,)
    if dtype.kind == "b":
        return (_each(bool, array),)
    return (_each(lambda x: x if isinstance(x, Size) else _truncated(x, 1), array),)


def _truncated(a: Any, b: Any) -> Any:
    """a / b without its fraction."""
    if not isinstance(a, (Size, int, bool, np.integer)):
        return math.floor(a) if a >= 0 else math.ceil(a)
    return a // b if (a >= 0) == (b >= 0) else -(-a // b)
