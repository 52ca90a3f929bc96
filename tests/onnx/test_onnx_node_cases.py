"""The node test cases that the package onnx generates: all numeric ones but those of the table below."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx_models import Array, by_references, run

import minidnn as mx
from minidnn.interop.onnx.reader import import_onnx
from minidnn.ops.checks import DTYPES

# Patterns of names -> why these cases are left out.
LEFT_OUT = {
    r"flexattention_(causal_mask|prob_mod|relative_positional|score_mod|soft_cap)": "attention by graphs of its own",
    r"attention_.*bf16.*": "attention, rounded to bfloat16 behind every step",
    r"(adagrad|adam|momentum|nesterov_momentum).*": "training",
    r"batchnorm_.*_training_mode": "training",
    r"training_dropout(_default)?(_mask)?": "training",
    r"bernoulli.*": "random; the type alone is compared, see below",
    r"image_decoder_.*": "decodes files",
    r"tfidfvectorizer_.*": "text",
    r"dft_inverse(_opset19)?": "expects float32's rounding noise around zero, within 1e-7",
}
# Elements that are no numbers, or that NumPy has no numbers for.
_OTHER_ELEMENTS = {
    TensorProto.STRING,
    TensorProto.COMPLEX64,
    TensorProto.COMPLEX128,
    TensorProto.FLOAT4E2M1,
    getattr(TensorProto, "FLOAT8E8M0", -1),
}


def is_numeric(model: onnx.ModelProto) -> bool:
    """Whether all inputs and outputs are tensors of numbers."""
    ports = [*model.graph.input, *model.graph.output]
    return all(
        port.type.WhichOneof("value") == "tensor_type" and port.type.tensor_type.elem_type not in _OTHER_ELEMENTS
        for port in ports
    )


@cache
def all_cases() -> list[Any]:
    """The numeric cases; made at the first need, as it takes some ten seconds."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return [case for case in collect_testcases(None) if is_numeric(case.model)]


def left_out(case: Any) -> bool:
    return any(re.fullmatch(pattern, case.name.removeprefix("test_")) for pattern in LEFT_OUT)


def as_array(value: Any) -> Array:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def what_is_wrong(case: Any, compute: Callable[..., list[Array]]) -> str | None:
    """None, or in what the network differs from the case."""
    try:
        net = mx.onnx.import_model(case.model)
        for inputs, outputs in case.data_sets:
            results = compute(net, *map(as_array, inputs))
            for got, wanted in zip(results, map(as_array, outputs), strict=True):
                if wanted.dtype in DTYPES and got.dtype != wanted.dtype:
                    return f"dtype {got.dtype}, not {wanted.dtype}"
                # Types that NumPy lacks are given in float32 and int8.
                wide = np.float64 if got.dtype.kind == "f" else np.int64
                np.testing.assert_allclose(got.astype(wide), wanted.astype(wide), case.rtol, case.atol)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def failures(cases: list[Any], compute: Callable[..., list[Array]]) -> dict[str, str]:
    found = {case.name: what_is_wrong(case, compute) for case in cases}
    return {name: wrong for name, wrong in found.items() if wrong is not None}


def fused(net: mx.onnx.OnnxBlock, *arrays: Array) -> list[Array]:
    if arrays:
        net.hybridize(backend="MINIDNN")
    return run(net, *arrays)


def wanted_cases() -> list[Any]:
    return [case for case in all_cases() if not left_out(case)]


def test_the_rules_and_references_do_the_cases_of_all_operators() -> None:
    cases = wanted_cases()
    whole = [case for case in cases if not case.name.endswith("_expanded")]
    assert len(whole) > 1100
    assert failures(whole, by_references) == {}


def test_the_rules_and_references_do_a_sample_of_what_operators_are_made_of() -> None:
    expanded = [case for case in wanted_cases() if case.name.endswith("_expanded")]
    assert failures(expanded[::5], by_references) == {}


def test_what_is_left_out_is_less_than_a_twentieth_and_does_not_work() -> None:
    without = [case for case in all_cases() if left_out(case)]
    assert len(without) < len(all_cases()) / 20
    unsupported = [case for case in without if not re.match("test_(bernoulli|attention|dft)", case.name)]
    assert failures(unsupported, by_references).keys() == {case.name for case in unsupported}


def test_compiled_networks_do_a_sample_of_the_cases() -> None:
    assert failures(wanted_cases()[::12], fused) == {}


@pytest.mark.slow
def test_compiled_networks_do_all_cases() -> None:
    assert failures(wanted_cases(), fused) == {}


def test_random_cases_have_the_right_types() -> None:
    for case in (case for case in all_cases() if case.name.startswith("test_bernoulli")):
        net = mx.onnx.import_model(case.model)
        inputs, (wanted,) = ([as_array(a) for a in arrays] for arrays in case.data_sets[0])
        (got,) = run(net, *inputs)
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        assert set(np.unique(got)) <= {0, 1}


def test_the_package_is_the_one_that_is_read_with() -> None:
    assert import_onnx() is onnx
