"""Tuning moves scales and constants between layers: after every single step a network gives what it gave before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from quantization_helpers import draw

import minidnn as mx
from minidnn.contrib.quantization.network import fuse_block
from minidnn.contrib.quantization.tuning.chains import find_chains
from minidnn.contrib.quantization.tuning.equalize import Equalizer
from minidnn.contrib.quantization.tuning.shift import Shifter, find_shifts
from minidnn.gluon.model_zoo import text, vision
from minidnn.gluon.model_zoo.vision.vit import VisionTransformer
from minidnn.ir.graph import Graph, evaluate
from minidnn.ir.symbolic import bind_known
from minidnn.passes.fold_parameters import average_by_pooling, fold_parameters
from minidnn.passes.quantize_mark import mark
from minidnn.passes.quantized_graph import layer_output

Array = np.ndarray[Any, Any]

# Of the largest number of an output.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Step:
    """A network behind a step, and which of its parameters differ from those before it."""

    name: str
    graph: Graph
    parameters: Mapping[str, Array]
    changed: tuple[str, ...] = ()

    def run(self, x: Any) -> dict[str, Array]:
        """What every operation gives, by the name that collectors see; and the outputs by their numbers."""
        (data,) = {v.name for v in self.graph.variables()} - self.parameters.keys()
        entries = [node[i] for node in self.graph.operations() for i in range(node.num_outputs)]
        values = evaluate(Graph([*entries, *self.graph.outputs]), {**self.parameters, data: x.asnumpy()})
        names = [*map(layer_output, entries), *map(str, range(len(self.graph.outputs)))]
        return dict(zip(names, values, strict=True))


def _bert() -> Any:
    return text.BertModel(text.BertConfig(50, 24, 2, 2, 40, 20), use_pooler=False)


# The network, an example, how many tensors are scaled and how many shifted, at least.
NETS: dict[str, tuple[Callable[[], Any], Array, int, int]] = {
    "residuals, ReLU": (lambda: vision.resnet18_v1(classes=10), draw(3, 3, 32, 32), 6, 0),
    "inverted residuals, ReLU6": (lambda: vision.get_model("mobilenetv2_0.25", classes=10), draw(3, 3, 32, 32), 10, 0),
    "hard swish": (lambda: vision.get_model("mobilenet_v3_small", classes=10), draw(3, 3, 32, 32), 3, 1),
    "layer norms behind sums": (_bert, np.arange(15, dtype=np.int32).reshape(3, 5), 3, 2),
    "layer norms in front of layers": (lambda: VisionTransformer(24, 2, 2, 5, 16, 8), draw(3, 3, 16, 16), 4, 2),
}


def uneven(net: Any, x: Any) -> Any:
    """The network with random weights and some channels far larger than others."""
    random = np.random.default_rng(0)
    mx.np.random.seed(0)
    net.initialize(mx.init.Xavier())
    fuse_block(net, (x,))  # gives parameters their shapes
    for name, parameter in net.collect_params().items():
        shape = parameter.shape
        if name.endswith(("gamma", "running_var")):
            parameter.set_data(mx.np.array(10 ** random.uniform(-1, 1, shape).astype(np.float32)))
        elif name.endswith(("beta", "bias", "running_mean")):
            parameter.set_data(mx.np.array(0.3 * random.standard_normal(shape).astype(np.float32)))
    return net


def steps(net: Any, x: Any) -> Iterator[Step]:
    """The float32 network after each step of tuning: channels of one tensor scaled, one tensor shifted."""
    fused = fuse_block(net, (x,))
    graph = bind_known(Graph(fused.symbol.outputs), {fused.inputs[0]: x.shape})
    yield Step("fused", graph, fused.parameters)
    marks = mark(graph, fused.parameters.keys(), "full")
    graph, parameters, names = fold_parameters(graph, fused.parameters, marks.products)
    yield Step("parameters folded", graph, parameters)
    graph = average_by_pooling(graph)
    step = Step("means as pooling", graph, parameters)
    yield step
    shifts = list(find_shifts(graph, names))
    for chain in find_chains(graph, parameters, names):
        layer, equalizer = layer_output(chain.entry), Equalizer(step.parameters, [chain])
        list(equalizer.scaled(layer, [step.run(x)[layer]]))
        if equalizer.changed:
            graph, values = equalizer.apply(step.graph), equalizer.parameters
            step = Step(f"scaled {layer}", graph, values, _changed(step.parameters, values))
            yield step
    for shift in shifts:
        layer, shifter = layer_output(shift.entry), Shifter([shift])
        list(shifter.shifted(layer, [step.run(x)[layer]]))
        if shifter.changed:
            graph, values = shifter.apply(step.graph, step.parameters, names)
            step = Step(f"shifted {layer}", graph, values, _changed(step.parameters, values))
            yield step


def _changed(before: Mapping[str, Array], after: Mapping[str, Array]) -> tuple[str, ...]:
    return tuple(k for k, v in after.items() if k not in before or not np.array_equal(before[k], v))


def is_same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Whether the outputs of two networks differ by no more than float32 rounds."""
    outputs = [name for name in one if name.isdigit()]
    return all(np.abs(one[n] - other[n]).max() <= TOLERANCE * np.abs(one[n]).max() for n in outputs)


@pytest.mark.parametrize("name", NETS)
def test_every_step_keeps_the_function_and_a_wrong_number_in_any_is_seen(name: str) -> None:
    make, example, scaled, shifted = NETS[name]
    x = mx.np.array(example)
    kinds: list[str] = []
    before: dict[str, Array] | None = None
    for step in steps(uneven(make(), x), x):
        after = step.run(x)
        assert before is None or is_same(before, after), step.name
        kinds.append(step.name.split()[0])
        # All of what the first step of a kind changes, one parameter of each other step.
        for wrong in step.changed if kinds.count(kinds[-1]) == 1 else step.changed[:1]:
            if wrong.endswith("key.bias"):
                continue  # It moves all scores of a query alike, which softmax takes away.
            parameters = {**step.parameters, wrong: step.parameters[wrong] * np.float32(1.01)}
            assert not is_same(after, Step("wrong", step.graph, parameters).run(x)), f"{step.name}: {wrong}"
        before = after
    assert kinds.count("scaled") >= scaled
    assert kinds.count("shifted") >= shifted
