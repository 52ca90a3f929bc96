"""Which nodes of a traced graph there are rules for, found out by reading each of them alone."""

from __future__ import annotations

from typing import Any

from minidnn.errors import GraphError, OpError
from minidnn.interop.torch.call import Complex
from minidnn.interop.torch.convert import TorchConversion
from minidnn.interop.torch.program import TorchModel, example_shape, is_aten, is_skipped, parts_of_dtype
from minidnn.ops.registry import TensorType

__all__ = ["why_unsupported"]


def why_unsupported(node: Any) -> str | None:
    """Why a node cannot be read with inputs like those it was traced with; None if it can.

    Args:
        node: a ``torch.fx.Node`` with ``meta["val"]``, as all nodes that it reads.
    """
    if is_skipped(node) or (not is_aten(node) and getattr(node.target, "__name__", "") == "getitem"):
        return None
    conversion = TorchConversion(TorchModel("", (), (), (), (), {}))
    try:
        for read in node.all_input_nodes:
            conversion.suppose(read.name, _stand_in(conversion, read.name, read.meta["val"]))
        conversion.read(node)
        for value in _flat(node.meta.get("val")):
            parts_of_dtype(value.dtype)
    except (GraphError, OpError) as error:
        return str(error)
    return None


def _stand_in(conversion: TorchConversion, name: str, value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_stand_in(conversion, f"{name}_{i}", item) for i, item in enumerate(value)]
    if not hasattr(value, "shape"):
        return int(value.node.hint) if hasattr(value, "node") and isinstance(value.node.hint, int) else value
    element = parts_of_dtype(value.dtype)
    if value.dtype.is_complex:
        type_ = TensorType(example_shape(value), element.outside)
        return Complex(*(conversion.stand_in(f"{name}_{part}", type_, element) for part in ("real", "imaginary")))
    return conversion.stand_in(name, TensorType(example_shape(value), element.outside), element)


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [v for item in value for v in _flat(item)]
    return [value] if hasattr(value, "dtype") and hasattr(value, "shape") else []
