"""Run as a program: one graph for every kind of step, on the ISA that ``MINIDNN_ISA`` names, against the references."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
from forced_algorithms import ESTIMATE, Preference
from int8_layers import Layer, assert_exact, integers
from small_graphs import check, fuse, inner, node, normal, steps

from minidnn.engine import info
from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.winograd import Winograd
from minidnn.runtime.library import library
from minidnn_kernels.winograd import F2X3_INT, F4X3_INT

var = make_variable


def run() -> set[str]:
    """The loops that ran."""
    seen: set[str] = set()
    image = {"x": normal(2, 19, 11, 13)}

    def add(graph: Graph, more: dict[str, np.ndarray], parameters: list[str]) -> None:
        seen.update(steps(check(graph, {**image, **more}, parameters)))

    x, w, r = inner(3)
    for kernel, filters, groups in (((3, 3), 37, 1), ((1, 1), 16, 1), ((3, 3), 19, 19), ((2, 3), 38, 19)):
        attrs: dict[str, Any] = {"kernel": kernel, "num_filter": filters, "num_group": groups, "no_bias": True}
        made = node("convolution", x, w, **attrs)
        high, wide = 12 - kernel[0], 14 - kernel[1]
        weight, residual = normal(filters, 19 // groups, *kernel), normal(2, filters, high, wide, seed=1)
        tail = node("sigmoid", node("add", made, r))
        graph = fuse("fused", [var("x"), var("w"), var("r")], [tail])
        add(graph, {"w": weight / np.float32(10), "r": residual}, ["w"])

    for kernel, filters, groups in (((4, 3), 37, 1), ((3, 3), 19, 19)):
        attrs = {"kernel": kernel, "stride": (2, 2), "num_filter": filters, "num_group": groups}
        weight = normal(19, filters // groups, *kernel) / np.float32(10)
        add(Graph([node("relu", node("deconvolution", var("x"), var("w"), **attrs))]), {"w": weight}, ["w"])

    wide_image = {"y": normal(1, 64, 40, 40), "v": normal(64, 64, 3, 3, seed=1) / np.float32(24)}
    large = node("convolution", var("y"), var("v"), kernel=(3, 3), pad=(1, 1), num_filter=64, no_bias=True)
    seen.update(steps(check(Graph([large]), wide_image, ["v"])))

    for pool_type, more in (("max", {}), ("avg", {"pad": (1, 1)}), ("avg", {"global_pool": True})):
        attrs = {"pool_type": pool_type, **more}
        add(Graph([node("pooling", var("x"), kernel=(3, 3), **attrs)]), {}, [])
    add(Graph([node("softmax", var("x"), axis=1)]), {}, [])
    add(Graph([node("log_softmax", var("x"), axis=-1)]), {}, [])
    parameters = {"g": normal(13), "b": normal(13, seed=1)}
    add(Graph([node("layer_norm", var("x"), var("g"), var("b"), axis=-1)]), parameters, ["g", "b"])
    add(Graph([node("transpose", var("x"), axes=(0, 2, 3, 1))]), {}, [])
    add(Graph([node("concatenate", var("x"), var("x"), num_args=2, axis=1)]), {}, [])
    chain = node("tanh", node("gelu", node("multiply", var("x"), node("exp", node("negative", var("x"))))))
    add(Graph([chain]), {}, [])
    dense = node("fully_connected", var("x"), var("w"), var("b"), num_hidden=21)
    add(Graph([dense]), {"w": normal(21, 19 * 11 * 13) / np.float32(50), "b": normal(21)}, ["w", "b"])
    for mode, rows, levels in (("lstm", 4, "none"), ("lstm", 4, "batch"), ("gru", 3, "none")):
        given = {"i": normal(2, rows * 21, 19), "h": normal(2, rows * 21, 21) / np.float32(9), "s": normal(2, 11, 21)}
        given |= {"c": normal(2, 11, 21, seed=1)} if mode == "lstm" else {}
        attrs = {"mode": mode, "state_size": 21, "direction": "bidirectional", "state_levels": levels}
        attrs |= {"linear_before_reset": False} if mode == "gru" else {}
        made = node("recurrent", var("t"), *map(var, given), **attrs)
        seen.update(steps(check(Graph([made]), {"t": normal(6, 11, 19), **given}, ["i", "h"])))
    add(Graph([node("batch_dot", var("a"), var("c"))]), {"a": normal(2, 9, 20), "c": normal(2, 20, 33)}, [])
    given = {"q": normal(2, 6, 13, 9), "k": normal(2, 3, 40, 9, seed=1), "v": normal(2, 3, 40, 21, seed=2)}
    past = {"p": normal(2, 3, 300, 9, seed=3), "r": normal(2, 3, 300, 21, seed=4)}
    for count in (1, 13):
        feed = {**given, "q": given["q"][:, :, :count], "m": normal(2, 1, count, 40, seed=5)}
        made = node("attention", *map(var, feed), causal="last", use_mask=True)
        seen.update(steps(check(Graph([made]), feed)))
        feed = {**given, **past, "q": given["q"][:, :, :count]}
        seen.update(steps(check(Graph([node("attention", *map(var, feed), use_past=True)]), feed)))
    return seen


def run_integers() -> set[str]:
    """The loops that ran, of int8 layers. Small layers are not done by Winograd's algorithm unless they must."""
    seen: set[str] = set()
    isa = library().isa
    preference = Preference()

    layers = [
        Layer((2, 19, 11, 13), 37, kernel=2, residual="int8"),  # direct
        Layer((1, 40, 6, 5), 70, out="float32", residual="float32"),
        Layer((2, 3, 17, 18), 24, kernel=7, stride=2, pad=(3, 3), out="int8"),  # a kernel row as one tap
        Layer((2, 19, 11, 13), 19, kernel=3, pad=(1, 1), groups=19, residual="int8"),
        Layer((1, 24, 9, 8), 36, kernel=3, pad=(1, 1), groups=4, out="int32"),
    ]
    with patch(ESTIMATE, preference):
        for signed in (False, True):
            for layer in layers:
                graph, parameters, _ = layer.node()
                seen.update(steps(assert_exact(isa.name, graph, parameters, layer.feed(signed))))
            dense = node("quantized_fully_connected", *map(var, "xwb"), num_hidden=37)
            known = {"w": integers((37, 203), True), "b": np.arange(37, dtype=np.int32) * 999}
            seen.update(steps(assert_exact(isa.name, Graph([dense]), known, {"x": integers((5, 203), signed)})))
            for scheme in (F4X3_INT, F2X3_INT):
                preference.wanted = (Winograd(scheme),)
                layer = Layer((2, 37, 11, 13), 35, kernel=3, pad=(1, 1), residual="int8")
                graph, parameters, _ = layer.node()
                made = steps(assert_exact(isa.name, graph, parameters, layer.feed(signed)))
                assert ("winograd_loop" in made) == (isa.arch == "x86_64")
                seen.update(made)
            preference.wanted = ()
    return seen


if __name__ == "__main__":
    print(info()["isa"], *sorted(run()))
    print(*sorted(run_integers()))
