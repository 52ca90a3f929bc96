"""Products with weights in bfloat16, lowered and run: on this machine's ISA, and with the instructions for bfloat16.

No emulator at hand knows AVX512-BF16: the program for it runs here with the instruction computed by others, as wide as
SSE2's vectors. Its code as it is is read in `tests/kernels`; Arm's runs in `tests/qemu`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import small_graphs
from bfloat16_layers import LAYERS, kernels
from bfloat16_problem import WithoutInstruction, bits_of, rounded
from forced_algorithms import ESTIMATE, Preference
from small_graphs import check, node, normal, run, steps

from minidnn.ir.graph import Graph, make_variable
from minidnn.lowering.winograd import Winograd
from minidnn_kernels.isa import Isa, get_isa
from minidnn_kernels.winograd import F4X3

every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> Iterator[Isa]:
    """Programs are made for a CPU with the instruction."""
    monkeypatch.setenv("MINIDNN_WINOGRAD", "0")
    isa = replace(get_isa("sse"), name="sse_pairs", bfloat16="dpbf16")
    library = WithoutInstruction(isa).library
    with patch.multiple(small_graphs, library=lambda: library):
        yield isa


@every_layer
def test_weights_are_widened_and_data_stays_without_the_instruction(name: str) -> None:
    layer = LAYERS[name]
    isa = small_graphs.library().isa
    program = check(layer.graph(), layer.feed(layer.is_paired(isa)), ["w", "b"])
    assert "host" not in steps(program)


@every_layer
def test_data_is_rounded_where_pairs_are_multiplied(name: str, paired: Isa) -> None:
    layer = LAYERS[name]
    program = check(layer.graph(), layer.feed(True), ["w", "b"])
    assert any(kernel.startswith("bf16_igemm") for kernel in kernels(program)) == layer.is_paired(paired)
    # Numbers that are not rounded give what their rounded ones give, where there are pairs.
    x = normal(*layer.data)
    one, other = (run(program, [array])[0] for array in (x, rounded(x)))
    assert np.array_equal(one, other) == layer.is_paired(paired)


def test_nan_and_infinity_stay_where_they_are(paired: Isa) -> None:
    for name in ("1x1", "odd depth"):
        layer = LAYERS[name]
        feed = layer.feed(True)
        feed["x"][0, 3, 1, 1], feed["x"][0, 4, 2, 2] = np.nan, np.inf
        program = small_graphs.compiled(layer.graph(), feed, ["w", "b"])
        (made,) = run(program, [feed["x"]])
        spoiled = np.isfinite(made).all((0, 1))
        assert not spoiled[1, 1]
        assert not spoiled[2, 2]
        assert spoiled.sum() == spoiled.size - 2


def test_layers_with_the_same_data_round_it_once(paired: Isa) -> None:
    x, feed = make_variable("x"), {"x": rounded(normal(1, 16, 6, 6))}
    made = []
    for i in range(2):
        feed[f"w{i}"] = bits_of(normal(40, 16, 1, 1, seed=i))
        attrs = {"kernel": (1, 1), "num_filter": 40, "no_bias": True}
        made.append(node("convolution_bfloat16_weight", x, make_variable(f"w{i}"), name=f"c{i}", **attrs))
    program = check(Graph(made), feed, ["w0", "w1"])
    assert steps(program).count("elementwise_loop") == 1


def test_winograd_takes_rounded_weights() -> None:
    layer = LAYERS["3x3"]
    with patch(ESTIMATE, Preference(Winograd(F4X3))):
        program = check(layer.graph(), layer.feed(), ["w", "b"], tolerance=1e-4)
    assert "winograd_loop" in steps(program)


def test_packed_weights_take_half_the_memory() -> None:
    attrs = {"num_hidden": 512, "no_bias": True}
    x, w = make_variable("x"), make_variable("w")
    weight = normal(512, 512)
    sizes = []
    for op, array in (("fully_connected", weight), ("fully_connected_bfloat16_weight", bits_of(weight))):
        program = small_graphs.compiled(Graph([node(op, x, w, **attrs)]), {"x": normal(1, 512), "w": array}, ["w"])
        sizes.append(max(constant.nbytes for constant in program.constants))
    assert sizes[0] == 2 * sizes[1] == 512 * 512 * 4


def test_batch_norm_behind_a_product_is_not_rounded_with_its_weights() -> None:
    layer = LAYERS["1x1"]
    feed = {**layer.feed(layer.is_paired(small_graphs.library().isa)), "g": normal(33, seed=5)}
    feed |= {name: normal(33, seed=seed) for seed, name in enumerate(("beta", "mean"))} | {"var": np.abs(feed["g"]) + 1}
    product = node("convolution_bfloat16_weight", *map(make_variable, ("x", "w", "b")), **layer.attrs)
    norm = node("batch_norm", product, *map(make_variable, ("g", "beta", "mean", "var")), fix_gamma=False)
    check(Graph([norm]), feed, [name for name in feed if name != "x"])


@pytest.mark.parametrize("op", ["convolution", "deconvolution", "fully_connected"])
def test_what_is_no_bits_of_bfloat16_is_refused(op: str) -> None:
    from minidnn.errors import TypeMismatchError
    from minidnn.ops.registry import TensorType, get_op

    made = get_op(f"{op}_bfloat16_weight")
    layer = next(layer for layer in LAYERS.values() if layer.op == op)
    attrs = made.make_attrs(dict(layer.attrs))
    given = {name: TensorType.of(array) for name, array in layer.feed().items()}
    assert made.infer_types(attrs, [*given.values()])[0].dtype == np.float32
    for name, dtype in (("w", np.float32), ("x", np.int32), ("b", np.uint16)):
        wrong = {**given, name: TensorType(given[name].shape, np.dtype(dtype))}
        with pytest.raises(TypeMismatchError, match=rf"{op}.*: (weight|data|bias) must (be|have)"):
            made.infer_types(attrs, [*wrong.values()])
