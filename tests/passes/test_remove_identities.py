"""What does nothing at inference is taken out."""

from __future__ import annotations

import pytest
from networks import assert_equivalent, batch_norm, conv, data, names, relu, unary

from minidnn.passes import remove_identities, run_passes
from minidnn.symbol import Group, var


@pytest.mark.parametrize("op", ["identity", "dropout"])
def test_identity_goes(op: str) -> None:
    before = relu(unary(op, unary("exp", data(), "exp")), "act")
    after = remove_identities(before)
    assert names(after) == ["exp", "act"]
    assert_equivalent(before, after)


def test_dropout_no_longer_stands_between_convolution_and_batch_norm() -> None:
    before = relu(batch_norm(unary("dropout", conv(data(), "conv")), "bn"))
    assert names(run_passes(before)) == ["fused_conv_bn_act_0"]


def test_dropout_of_integers_stays_since_it_makes_floats_of_them() -> None:
    before = unary("dropout", var("x", shape=(3,), dtype="int32"), "dropout")
    assert names(remove_identities(before)) == ["dropout"]


def test_graph_of_an_identity_alone_is_its_variable() -> None:
    before = unary("identity", data(), "copy")
    after = remove_identities(before)
    assert names(after) == []
    assert_equivalent(before, after)


def test_outputs_keep_their_number_when_two_become_one() -> None:
    value = unary("exp", data(), "exp")
    before = Group([value, unary("identity", value, "copy")])
    after = remove_identities(before)
    assert [str(e) for e in after.outputs] == ["exp", "exp"]
    assert_equivalent(before, after)


def test_cast_to_the_same_dtype_goes_and_another_stays() -> None:
    same = unary("cast", data(), "cast", dtype="float32")
    assert names(remove_identities(same)) == []
    other = unary("cast", data(), "cast", dtype="float64")
    assert names(remove_identities(other)) == ["cast"]


def test_cast_of_an_unknown_dtype_stays() -> None:
    before = unary("cast", data(shape=None), "cast", dtype="float32")
    assert names(remove_identities(before)) == ["cast"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, 2, 3, 1), (0, 3, 1, 2)),
        ((1, 0, 2, 3), (1, 0, 2, 3)),
        (None, None),
        (None, (3, 2, 1, 0)),
        ((0, -2, -1, 1), (0, -1, 1, 2)),
    ],
)
def test_transposes_that_cancel_go(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> None:
    before = relu(unary("transpose", unary("transpose", data(), axes=first), axes=second), "act")
    after = remove_identities(before)
    assert names(after) == ["act"]
    assert_equivalent(before, after)


@pytest.mark.parametrize(
    ("first", "second"), [((0, 2, 3, 1), (0, 2, 3, 1)), (None, (0, 2, 1, 3)), ((2, 0, 1, 3), None)]
)
def test_transposes_that_do_not_cancel_become_one(
    first: tuple[int, ...] | None, second: tuple[int, ...] | None
) -> None:
    before = unary("transpose", unary("transpose", data(), "t1", axes=first), "t2", axes=second)
    after = remove_identities(before)
    assert names(after) == ["t2"]
    assert_equivalent(before, after)


def test_first_transpose_stays_for_its_other_reader() -> None:
    turned = unary("transpose", data(), "t1", axes=(0, 2, 3, 1))
    before = Group([unary("exp", turned, "exp"), unary("transpose", turned, "t2", axes=(0, 3, 1, 2))])
    after = remove_identities(before)
    assert names(after) == ["t1", "exp"]
    assert_equivalent(before, after)


def test_three_transposes_collapse() -> None:
    before = data()
    for i in range(3):
        before = unary("transpose", before, f"t{i}", axes=(0, 2, 3, 1))
    after = remove_identities(before)
    assert names(after) == []
    assert_equivalent(before, after)


@pytest.mark.parametrize(("first", "second"), [((0, 1, 2), (0, 5, 1)), ((0, 1), (2, 1, 0)), ((None, 0), (1, 0))])
def test_transposes_that_fit_nothing_are_left_to_shape_inference(
    first: tuple[int | None, ...], second: tuple[int | None, ...]
) -> None:
    before = unary("transpose", unary("transpose", data(shape=None), "t1", axes=first), "t2", axes=second)
    assert names(remove_identities(before)) == ["t1", "t2"]


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("flatten", {}),
        ("reshape", {"newshape": (4, -1)}),
        ("npx_reshape", {"newshape": (-2, -1)}),
        ("expand_dims", {"axis": 1}),
    ],
)
def test_reshape_of_a_reshape_is_one_reshape(op: str, attrs: dict[str, object]) -> None:
    before = unary("reshape", unary(op, data(), "first", **attrs), "second", newshape=(5, -1, 4))
    after = remove_identities(before)
    assert names(after) == ["second"]
    assert_equivalent(before, after)


def test_reshape_in_another_order_stays() -> None:
    before = unary("reshape", unary("reshape", data(), "f", newshape=(-1,), order="F"), "second", newshape=(5, -1, 4))
    assert names(remove_identities(before)) == ["f", "second"]
    outer = unary("reshape", unary("flatten", data(), "flat"), "f", newshape=(5, -1, 4), order="F")
    assert names(remove_identities(outer)) == ["flat", "f"]
