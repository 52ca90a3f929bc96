"""A graph of PyTorch as a graph of ours, for inputs of given types: the walk over its nodes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import GraphError, OpError
from minidnn.interop.onnx.builder import Builder, FindValues
from minidnn.interop.onnx.convert import Converted
from minidnn.interop.onnx.elements import Element
from minidnn.interop.onnx.maker import UnsupportedNodeError
from minidnn.interop.onnx.values import Value
from minidnn.interop.torch import rules
from minidnn.interop.torch.call import ATEN, COMPLEX, Call, Complex, Rule
from minidnn.interop.torch.program import (
    TorchModel,
    check_nodes,
    constant_of,
    is_aten,
    is_skipped,
    module_path,
    node_label,
    operator_of,
    parts_of_dtype,
)
from minidnn.interop.torch.rules.complex_numbers import complex_of_pairs
from minidnn.ir.trace import Trace
from minidnn.ops.registry import TensorType
from minidnn.scope import run_in_scope

__all__ = ["TorchConversion", "check_model"]

assert rules.__all__ is not None  # the rules enter themselves in the table


def _chosen(choose: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: choose(a, b)


# Functions of Python that traced graphs apply to sizes.
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod)},
    **{f.__name__: f for f in (operator.truediv, operator.pow, operator.neg, operator.pos)},
    **{f.__name__: f for f in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)},
    **{f.__name__: f for f in (operator.and_, operator.or_)},
    **{f.__name__: f for f in (math.floor, math.ceil, math.trunc)},
    "getitem": operator.getitem,
    "sym_max": _chosen(max),
    "sym_min": _chosen(min),
    "sym_int": math.trunc,
    "sym_float": lambda x: x,
    "sym_not": operator.not_,
    "sym_ite": lambda condition, a, b: a if condition else b,
    "_sym_sqrt": lambda x: x**0.5,
}


def check_model(model: TorchModel) -> None:
    """Raise UnsupportedNodeError for operators that there is no rule for."""
    check_nodes(model, _FUNCTIONS)


class TorchConversion:
    """One conversion of a model.

    Args:
        model: the model.
        find_values: the values of entries in the call that it is for; None: there is no call.
    """

    def __init__(self, model: TorchModel, find_values: FindValues | None = None) -> None:
        self.trace: Trace[Value] = Trace(Value, find_values)
        self._model = model
        self._builder = Builder(self.trace, find_values)
        self._found: dict[str, Any] = {}
        self._transposed: dict[Any, Value] = {}
        names = [name for name, _ in model.constants.values()]
        self.trace.reserve((*(port.name for port in model.inputs), *names))

    def run(self, types: Sequence[TensorType]) -> Converted:
        """The graph for inputs of these types, in their dtypes, of sizes that are symbols of `trace.decisions`.

        Raises:
            GraphError: an operator, or an argument of one, is not supported; the message names node and operator.
            NeedsValuesError: something depends on values, and there are none.
            OpError: shapes or dtypes do not fit; the message names the node.
        """
        try:
            return self.trace.run(self._run, types)
        except (GraphError, OpError) as error:
            raise type(error)(f"{self._model.label}: {error}") from None

    def _run(self, types: Sequence[TensorType]) -> Converted:
        model, builder = self._model, self._builder
        for port, type_ in zip(model.inputs, types, strict=True):
            assert port.element is not None
            self._found[port.name] = builder.input(port.name, type_, port.element)
        for name, (input_, axis) in model.sizes.items():
            self._found[name] = types[[port.name for port in model.inputs].index(input_)].shape[axis]
        for node in model.nodes:
            self._node(node)
        outputs = [self._result(r) for r in model.results if hasattr(r, "all_input_nodes")]
        graph = builder.finish(outputs, [port.name for port in model.outputs])
        arrays = {**self.trace.parameters, **self.trace.constants}
        used = {variable.name for variable in graph.variables()}
        constants = {name: v.array for name, v in arrays.items() if name in used and v.array is not None}
        parameters = (n for n in self.trace.parameters if n in constants and n not in builder.folded)
        return Converted(graph, constants, tuple(parameters), self.trace.decisions)

    # ---- single nodes

    def stand_in(self, name: str, type_: TensorType, element: Element) -> Value:
        """A tensor of which nothing is known but its type."""
        return self._builder.input(name, type_, element)

    def suppose(self, name: str, value: Any) -> None:
        """Let the node of that name be a value."""
        self._found[name] = value

    def read(self, node: Any) -> None:
        """Read one node; what it reads has been supposed."""
        self.trace.run(self._node, node)

    # ---- the walk

    def _result(self, node: Any) -> Value:
        found = self._found[node.name]
        if not isinstance(found, Value):
            if isinstance(found, Complex):
                raise UnsupportedNodeError(f"{node_label(node)}: complex numbers are not supported as results")
            raise UnsupportedNodeError(f"{node_label(node)}: results must be tensors, got {type(found).__name__}")
        return found

    def _node(self, node: Any) -> None:
        if node.op == "placeholder":
            self._placeholder(node)
        elif node.op == "get_attr":
            held = node.graph.owning_module
            for part in node.target.split("."):
                held = getattr(held, part)
            self._found[node.name] = self._constant(node, node.target, held)
        elif not is_skipped(node):
            scope = module_path(node).replace(".", "_").replace("\n", " ") or "net"
            self._found[node.name] = run_in_scope(scope, self._apply, node)

    def _placeholder(self, node: Any) -> None:
        if node.name in self._found:
            return
        if node.name not in self._model.constants:
            raise UnsupportedNodeError(f"{node_label(node)}: inputs must be tensors")
        name, constant = self._model.constants[node.name]
        self._found[node.name] = self._as_complex(node, self._builder.constant(constant, name))

    def _constant(self, node: Any, name: str, tensor: Any) -> Value | Complex:
        if not hasattr(tensor, "detach"):
            raise UnsupportedNodeError(f"{name}: graphs inside of a graph are not supported")
        return self._as_complex(node, self._builder.constant(constant_of(tensor), name), tensor.dtype)

    def _as_complex(self, node: Any, value: Value, dtype: Any = None) -> Value | Complex:
        """A constant as what it is, see `constant_of`."""
        dtype = node.meta["val"].dtype if dtype is None else dtype
        return complex_of_pairs(self._maker(node), value) if dtype.is_complex else value

    def _maker(self, node: Any) -> Call:
        return Call(node_label(node), self._builder, (), None, self._transposed)

    def _apply(self, node: Any) -> Any:
        args, kwargs = self._argument(node.args), self._argument(node.kwargs)
        name = operator_of(node)
        if not is_aten(node):
            function = _FUNCTIONS.get(name)
            if function is None:
                raise UnsupportedNodeError(f"{node_label(node)}: the operator is not supported")
            return function(*args, **kwargs)
        made = node.meta.get("val")
        several = isinstance(made, (tuple, list))
        listed = made if several else [made]
        rule = _rule_of(node, name, _has_complex([*args, *kwargs.values()]) or any(map(_is_complex, listed)))
        elements = [_element(v) for v in listed]
        call = Call(node_label(node), self._builder, elements, _read_results(node, several), self._transposed)
        try:
            result = rule(call, *args, **kwargs)
            if not several:
                return _as_result(call, result, elements[0])
            if len(result) < len(elements):
                result = [*result, *[None] * (len(elements) - len(result))]
            return [None if v is None else _as_result(call, v, e) for v, e in zip(result, elements, strict=True)]
        except (OpError, GraphError) as error:
            if str(error).startswith("node "):
                raise
            raise type(error)(f"{call.label}: {error}") from None
        except (ArithmeticError, AttributeError, AssertionError, LookupError, TypeError, ValueError) as error:
            # Arguments in a combination that no rule has refused before.
            raise OpError(f"{call.label}: {type(error).__name__}: {str(error)[:200]}") from error

    def _argument(self, argument: Any) -> Any:
        """An argument of a node, with values and sizes for nodes and elements for dtypes."""
        if hasattr(argument, "all_input_nodes"):
            return self._found[argument.name]
        if isinstance(argument, (tuple, list)):
            return tuple(self._argument(item) for item in argument)
        if isinstance(argument, dict):
            return {name: self._argument(item) for name, item in argument.items()}
        kind = type(argument).__name__
        if kind == "dtype":
            return parts_of_dtype(argument)
        return None if kind in ("device", "layout", "memory_format") else argument


def _element(value: Any) -> Element | None:
    return parts_of_dtype(value.dtype) if hasattr(value, "dtype") and hasattr(value, "shape") else None


def _is_complex(value: Any) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "shape") and bool(value.dtype.is_complex)


def _has_complex(arguments: Any) -> bool:
    return any(
        _has_complex(item) if isinstance(item, (tuple, list)) else isinstance(item, Complex) for item in arguments
    )


def _rule_of(node: Any, name: str, is_complex: bool) -> Rule:
    rule = COMPLEX.get(name) if is_complex else ATEN.get(name)
    if rule is None:
        what = (
            "complex numbers are not supported by it"
            if is_complex and name in ATEN
            else "the operator is not supported"
        )
        raise UnsupportedNodeError(f"{node_label(node)}: {what}")
    return rule


def _read_results(node: Any, several: bool) -> frozenset[int] | None:
    """Which results are picked out by others; None where one takes all of them."""
    if not several:
        return None
    users = list(node.users)
    if any(getattr(user.target, "__name__", "") != "getitem" for user in users):
        return None
    return frozenset(user.args[1] for user in users)


def _as_result(call: Call, result: Any, element: Element | None) -> Any:
    """The result as PyTorch's type says."""
    if isinstance(result, Complex):
        return Complex(_as_result(call, result.real, element), _as_result(call, result.imaginary, element))
    if element is None or not isinstance(result, Value):
        return result
    if result.dtype != element.carrier:
        result = call.emit("cast", result, dtype=np.dtype(element.carrier))
    return result.as_element(element)
