"""A PyTorch module as a block: ``mx.interop.from_torch(module, (example,))``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minidnn.errors import DataError
from minidnn.gluon.structure import ARRAY, Spec
from minidnn.interop.onnx import FindValues, NeedsValuesError
from minidnn.interop.torch import TorchConversion, TorchModel, check_model, import_torch, read_program
from minidnn.onnx.model_block import ModelBlock
from minidnn.process_safe import uninterrupted
from minidnn_kernels.fork_lock import FORK_LOCK

__all__ = ["TorchBlock", "from_torch", "load_package"]


def load_package() -> None:
    """Import PyTorch, which takes long.

    Raises:
        ImportError: it is not installed.
    """
    uninterrupted(_load_package)


def _load_package() -> None:
    with FORK_LOCK:
        import_torch()


def from_torch(
    module: Any,
    example: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
) -> TorchBlock:
    """A network from a PyTorch module.

    Args:
        module: a ``torch.nn.Module``, which is traced by ``torch.export`` in evaluation mode; or what that gave, a
            ``torch.export.ExportedProgram``; or the path of a file of one, ``.pt2``.
        example: for a module, the arguments of a call: tensors, nested as the module takes them.
        kwargs: further arguments by name.
        dynamic_shapes: which sizes of the inputs can be others than those of `example`: see ``torch.export.export``;
            ``"auto"``: all that can be. None: all sizes are fixed.

    Returns:
        A `SymbolBlock` that takes the tensors of the arguments, in order, and gives what the module gives, nested
        alike, arrays for tensors. Its parameters have the names of the module's.

    Raises:
        DataError: a file is no exported program.
        GraphError: an operator is not supported; the message names it, its node and the module it is in.
        ImportError: PyTorch is not installed.
        OSError: a file cannot be read.
        TypeError: `module` is something else, or an argument is missing.
    """
    load_package()
    torch = import_torch()
    names: dict[str, str] = {}
    if isinstance(module, (str, os.PathLike)):
        label, program = Path(module).name, _loaded(torch, Path(module))
    elif isinstance(module, torch.export.ExportedProgram):
        label, program = type(module).__name__, module
    elif isinstance(module, torch.nn.Module):
        if not isinstance(example, (tuple, list)):
            raise TypeError(f"example must be a tuple of arguments, got {type(example).__name__}")
        label = type(module).__name__
        arguments, options = tuple(example), dict(kwargs or {})
        if isinstance(dynamic_shapes, str):
            if dynamic_shapes != "auto":
                raise ValueError(f"dynamic_shapes must be 'auto' or what torch.export takes, got {dynamic_shapes!r}")
            dynamic_shapes = _all_axes(torch, (arguments, options))
        program = _exported(torch, module, arguments, options, dynamic_shapes)
        names = _names_of_sizes(torch, program, dynamic_shapes)
    else:
        raise TypeError(
            f"a torch.nn.Module, an ExportedProgram or the path of a .pt2 file is wanted, got {type(module).__name__}"
        )
    model = _quietly(read_program, program, label, names)
    return TorchBlock(model, _spec_of(program.call_spec.out_spec))


def _loaded(torch: Any, path: Path) -> Any:
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise DataError(f"{path}: not a file of torch.export.save: it is no zip archive")
    try:
        return _quietly(torch.export.load, path)
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as error:  # whatever PyTorch raises for damaged files
        raise DataError(f"{path}: not a file of torch.export.save: {str(error)[:200]}") from None


def _quietly(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args)`` without PyTorch's warnings about itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def _exported(torch: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any) -> Any:
    """The module traced in evaluation mode, in which it is left as it was; without fused kernels of attention layers,
    which are no operators of ATen's core.
    """
    modes = [(part, part.training) for part in module.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        module.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        return _quietly(torch.export.export, module, args, kwargs, dynamic_shapes=dynamic_shapes)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for part, training in modes:
            part.training = training


def _all_axes(torch: Any, arguments: Any) -> Any:
    """For each tensor that all of its sizes can be others, where the module lets them."""

    def axes(value: Any) -> Any:
        auto = torch.export.Dim.AUTO
        return dict.fromkeys(range(value.ndim), auto) if isinstance(value, torch.Tensor) else None

    args, kwargs = torch.utils._pytree.tree_map(axes, arguments)
    return (*args, *kwargs.values())


def _names_of_sizes(torch: Any, program: Any, dynamic_shapes: Any) -> dict[str, str]:
    """What users call sizes, by PyTorch's names of their symbols."""
    found: dict[str, str] = {}
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder"]
    inputs = [n for n in placeholders if n.name in program.graph_signature.user_inputs]
    for node, given in zip(inputs, _tensor_shapes(dynamic_shapes), strict=False):
        axes = given.items() if isinstance(given, Mapping) else enumerate(given or ())
        shape = getattr(node.meta.get("val"), "shape", ())
        for axis, dim in axes:
            name = getattr(dim, "__name__", None)
            if name is not None and axis < len(shape) and not isinstance(shape[axis], int):
                found[str(shape[axis].node.expr)] = name
    return found


def _tensor_shapes(dynamic_shapes: Any) -> Iterator[Any]:
    """What is said of each tensor, in order."""
    items = dynamic_shapes.values() if isinstance(dynamic_shapes, Mapping) else dynamic_shapes or ()
    for item in items:
        is_leaf = item is None or (isinstance(item, Mapping) and all(isinstance(axis, int) for axis in item))
        is_list = isinstance(item, (tuple, list)) and not any(isinstance(n, (Mapping, tuple, list)) for n in item)
        if is_leaf or is_list:
            yield item
        else:
            yield from _tensor_shapes(item)


def _spec_of(spec: Any) -> Spec:
    """How PyTorch says that results are nested, as ours: what is neither list nor dict becomes a list."""
    if spec.is_leaf():
        return ARRAY
    children = tuple(
        map(_spec_of, spec.children() if callable(getattr(spec, "children", None)) else spec.children_specs)
    )
    kind = getattr(spec.type, "__name__", "")
    if kind in ("dict", "OrderedDict"):
        return Spec(dict, tuple(spec.context), children)
    return Spec(tuple if kind == "tuple" else list, None, children)


class TorchBlock(ModelBlock):
    """A block that computes a module of PyTorch; see `from_torch`.

    Args:
        model: the traced graph.
        output: how its results are nested.

    Raises:
        GraphError: an operator is not supported.
    """

    def __init__(self, model: TorchModel, output: Spec) -> None:
        super().__init__(model)
        self._torch = model
        self._nesting = _without(output, iter(model.results))
        check_model(model)
        try:
            self._known_graph = self._convert(model.examples, None)
        except NeedsValuesError:
            return

    def _conversion(self, find_values: FindValues | None) -> TorchConversion:
        return TorchConversion(self._torch, find_values)

    def _output(self, count: int) -> Spec:
        return self._nesting


def _without(spec: Spec, results: Iterator[Any]) -> Spec:
    """The nesting with those results as they are that are no tensors."""
    if spec is ARRAY:
        result = next(results)
        return ARRAY if hasattr(result, "all_input_nodes") else Spec(type(result), result)
    return Spec(spec.kind, spec.value, tuple(_without(child, results) for child in spec.children))
