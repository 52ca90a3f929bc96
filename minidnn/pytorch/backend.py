"""The backend ``minidnn`` of ``torch.compile``."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minidnn.errors import MXNetError
from minidnn.gluon.structure import ARRAY, Spec
from minidnn.interop.torch import (
    decompositions,
    import_torch,
    is_preserved,
    operator_of,
    read_graph,
    why_unsupported,
)
from minidnn.numpy.multiarray import ndarray
from minidnn.pytorch.block import TorchBlock, load_package

__all__ = ["register_torch_backend", "torch_backend"]

_NAME = "minidnn"
_LOG = logging.getLogger("minidnn")


def register_torch_backend() -> None:
    """Let ``torch.compile(module, backend="minidnn")`` find this package.

    An installed package is found without, by its entry point.

    Raises:
        ImportError: PyTorch is not installed.
    """
    load_package()
    from torch._dynamo.backends import registry

    if _NAME not in registry.list_backends(exclude_tags=()):
        registry.register_backend(torch_backend, name=_NAME)


def torch_backend(graph: Any, inputs: Sequence[Any], **options: Any) -> Callable[..., Any]:
    """Compile a graph for inference: ``torch.compile(module, backend="minidnn")``.

    What is not supported stays with PyTorch, and a warning names its operators. Results have no gradients.

    Args:
        graph: a ``torch.fx.GraphModule``.
        inputs: examples of its inputs.

    Raises:
        ValueError: there are options, of which this backend has none.
    """
    if options:
        raise ValueError(f"backend 'minidnn' has no options, got {sorted(options)}")
    load_package()
    torch = import_torch()
    from torch._decomp import core_aten_decompositions
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.aot_autograd import make_boxed_func

    if torch.is_grad_enabled() and any(getattr(x, "requires_grad", False) for x in inputs):
        _LOG.info("backend 'minidnn' of torch.compile is for inference: its results have no gradients")

    def compile_for_inference(traced: Any, _: Sequence[Any]) -> Any:
        return make_boxed_func(_compiled(torch, traced))

    table = decompositions(core_aten_decompositions())
    compiler = aot_autograd(fw_compiler=compile_for_inference, decompositions=table)
    with torch.no_grad(), _preserved_operators():
        run = compiler(graph, inputs)

    def run_without_gradients(*args: Any) -> Any:
        with torch.no_grad():
            return run(*args)

    return run_without_gradients


@contextlib.contextmanager
def _preserved_operators() -> Iterator[None]:
    """Keep composite operators that there are rules for whole, as ``torch.export`` does it.

    Its means are not public: where they are others, such operators come apart, which is slower and no more.
    """
    try:
        from torch._export.utils import (
            _collect_all_valid_cia_ops,
            _special_op_to_preserve_cia,
        )
        from torch.export.exported_program import _override_composite_implicit_decomp
    except ImportError:
        yield
        return
    kept = {op: _special_op_to_preserve_cia for op in _collect_all_valid_cia_ops() if is_preserved(op)}
    with _override_composite_implicit_decomp(kept):
        yield


def _compiled(torch: Any, traced: Any) -> Callable[..., Any]:
    """The graph with all that is supported computed here."""
    constants = _constant_inputs(torch, traced)
    reasons = {n: why_unsupported(n) for n in traced.graph.nodes if n.op == "call_function"}
    refused = {node: why for node, why in reasons.items() if why is not None}
    refused |= {n: "graphs inside of a graph are not supported" for n in traced.graph.nodes if n.op == "call_module"}
    if not refused:
        return _Part(torch, traced, constants)
    _warn({operator_of(node) for node in refused})
    for why in refused.values():
        _LOG.info("backend 'minidnn' of torch.compile: %s", why)
    return _split(torch, traced, constants, refused)


def _warn(operators: set[str]) -> None:
    warnings.warn(
        f"torch.compile(backend='minidnn'): PyTorch computes {', '.join(sorted(operators))}, which minidnn does not "
        "support",
        stacklevel=2,
    )


def _constant_inputs(torch: Any, traced: Any) -> set[str]:
    """Names of the inputs that PyTorch says are parameters and buffers."""
    context = torch._guards.TracingContext.try_get()
    metadata = getattr(context, "fw_metadata", None)
    indices = set(getattr(metadata, "static_input_indices", ()) or ())
    placeholders = [node for node in traced.graph.nodes if node.op == "placeholder"]
    return {node.name for i, node in enumerate(placeholders) if i in indices and hasattr(node.meta["val"], "shape")}


def _split(torch: Any, traced: Any, constants: set[str], refused: Mapping[Any, str]) -> Callable[..., Any]:
    """The graph with its supported parts as modules that run here."""
    from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
    from torch.fx.passes.operator_support import OperatorSupportBase

    class Support(OperatorSupportBase):  # type: ignore[misc]
        def is_node_supported(self, submodules: Any, node: Any) -> bool:
            return node.op == "call_function" and node not in refused and hasattr(node.meta.get("val"), "shape")

    whole = CapabilityBasedPartitioner(traced, Support(), allows_single_node_partition=True).partition_and_fuse()
    for node in whole.graph.nodes:
        if node.op == "call_module" and node.target.startswith("fused_"):
            part = getattr(whole, node.target)
            inside = [n for n in part.graph.nodes if n.op == "placeholder"]
            own = {i.name for i, outer in zip(inside, node.args, strict=True) if outer.name in constants}
            setattr(whole, node.target, _as_module(torch, _Part(torch, part, own)))
    whole.recompile()
    run: Callable[..., Any] = whole.forward
    return run


def _as_module(torch: Any, part: _Part) -> Any:
    class Part(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any) -> Any:
            results = part(*args)
            return results[0] if part.is_single else results

    return Part()


class _Part:
    """A part of a graph as a block, made when the values of its parameters are known.

    Args:
        graph: the part, a ``torch.fx.GraphModule``.
        constants: names of its inputs that are parameters.
    """

    def __init__(self, torch: Any, graph: Any, constants: set[str]) -> None:
        self._torch, self._graph = torch, graph
        self._placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
        output = next(node for node in graph.graph.nodes if node.op == "output").args[0]
        self.is_single = not isinstance(output, (tuple, list))
        self._results = [output] if self.is_single else list(output)
        self._fixed = [i for i, node in enumerate(self._placeholders) if node.name in constants]
        self._moving = [
            i
            for i, node in enumerate(self._placeholders)
            if node.name not in constants and hasattr(node.meta.get("val"), "shape")
        ]
        self._state: list[tuple[int, int, int]] = []
        self._block: TorchBlock | None = None
        self._is_refused = False

    def __call__(self, *args: Any) -> Any:
        if not self._is_refused:
            try:
                return self._run(args)
            except MXNetError as error:
                self._is_refused = True
                _LOG.info("backend 'minidnn' of torch.compile: %s", error)
                _warn({operator_of(node) for node in self._graph.graph.nodes if node.op == "call_function"})
        results = self._graph(*args)
        return [results] if self.is_single else results

    def _run(self, args: Sequence[Any]) -> list[Any]:
        state = [_state_of(args[i]) for i in self._fixed]
        if self._block is None or state != self._state:
            constants = {self._placeholders[i].name: args[i] for i in self._fixed}
            model = read_graph(self._graph, "the graph of torch.compile", constants)
            count = sum(hasattr(r, "all_input_nodes") for r in self._results)
            self._block, self._state = TorchBlock(model, Spec(list, None, (ARRAY,) * len(self._results))), state
            assert count == len(model.outputs)
        made = self._block(*(_to_array(args[i]) for i in self._moving))
        return [self._to_tensor(value, node) for value, node in zip(made, self._results, strict=True)]

    def _to_tensor(self, value: Any, node: Any) -> Any:
        """A result as what PyTorch expects: of its dtype, and laid out as it would have it."""
        if not isinstance(value, ndarray):
            return value
        expected = node.meta["val"]
        tensor = self._torch.from_numpy(value.asnumpy()).to(expected.dtype)
        strides = expected.stride()
        if all(isinstance(n, int) for n in (*strides, *expected.shape)) and tensor.stride() != strides:
            laid_out = self._torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype)
            return laid_out.copy_(tensor)
        return tensor


def _to_array(tensor: Any) -> ndarray:
    plain = tensor.detach()
    if str(plain.dtype) == "torch.bfloat16":
        plain = plain.float()
    return ndarray._wrap(np.asarray(plain.contiguous().numpy()))


def _state_of(tensor: Any) -> tuple[int, int, int]:
    """What changes when the elements of a parameter do."""
    version = -1 if tensor.is_inference() else tensor._version
    return id(tensor), tensor.data_ptr(), version
