"""Graph passes: functions ``Graph -> Graph`` that know operators and never machines.

What a pass knows of shapes and dtypes it reads from the hints of the graph's variables
(`minidnn.ir.infer`); where they say nothing it leaves alone what it cannot prove right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from minidnn.ir.graph import Graph, unfused_outputs
from minidnn.ir.infer import with_types
from minidnn.ir.printing import debug_print, format_graph
from minidnn.ir.verify import verify_if_asked
from minidnn.ops.registry import TensorType
from minidnn.passes.find_attention import find_attention
from minidnn.passes.fold_batch_norm import fold_batch_norm
from minidnn.passes.fold_constants import fold_constants, optimize_around, without_data
from minidnn.passes.fuse import fuse_elementwise, fuse_epilogues
from minidnn.passes.quantize_fold import fold_given_types
from minidnn.passes.quantized_graph import is_quantized
from minidnn.passes.remove_identities import remove_identities

__all__ = [
    "FUSION_PASSES",
    "Pass",
    "find_attention",
    "fold_batch_norm",
    "fold_constants",
    "fold_given_types",
    "fuse_again",
    "fuse_elementwise",
    "fuse_epilogues",
    "optimize_around",
    "remove_identities",
    "run_passes",
    "without_data",
]

Pass = Callable[[Graph], Graph]

FUSION_PASSES: tuple[tuple[str, Pass], ...] = (
    ("remove_identities", remove_identities),
    ("find_attention", find_attention),
    ("fold_batch_norm", fold_batch_norm),
    ("fuse_epilogues", fuse_epilogues),
    ("fuse_elementwise", fuse_elementwise),
    ("fold_given_types", fold_given_types),
)


def run_passes(graph: Graph, passes: Sequence[tuple[str, Pass]] = FUSION_PASSES) -> Graph:
    """The graph after all passes, one after the other.

    ``MINIDNN_DEBUG=graph`` shows it before and after, ``MINIDNN_DEBUG=passes`` after each pass;
    ``MINIDNN_DEBUG=verify`` checks it before and after each pass, see `minidnn.ir.verify.verify`.
    """
    verify_if_asked(graph, lambda: "before the passes")
    debug_print("graph", f"before {len(passes)} passes", lambda: format_graph(graph))
    result = graph
    for name, transform in passes:
        result = transform(result)
        verify_if_asked(result, lambda name=name: f"after {name}")  # type: ignore[misc]
        _show(name, result)
    debug_print("graph", f"after {len(passes)} passes", lambda: format_graph(result))
    return result


def fuse_again(graph: Graph, types: Mapping[str, TensorType], constants: Collection[str]) -> Graph:
    """A fused graph with more fused, now that these types of its variables are known; itself if that gains nothing.

    Args:
        graph: the graph; one with int8 operations stays as it is.
        types: of variables, by name.
        constants: names of the variables that do not change from run to run.
    """
    if is_quantized(graph):
        return graph
    plain = with_types(graph.rewrite(unfused_outputs), types)
    fused = optimize_around(plain, constants, run_passes)
    return fused if len(fused.operations()) < len(graph.operations()) else graph


def _show(name: str, graph: Graph) -> None:
    debug_print("passes", f"after {name}: {len(graph.operations())} operations", lambda: format_graph(graph))
