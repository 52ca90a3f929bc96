"""Operators of the domain ``ai.onnx.ml``: trees, linear models and features, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Array, by_references, run

import minidnn as mx
from minidnn.errors import GraphError, MXNetError

RNG = np.random.default_rng(11)
ML = "ai.onnx.ml"
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
ELEMENTS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}


def model_of(op: str, dtype: str = "float32", outputs: Any = ("y",), rank: int = 2, **attributes: Any) -> Any:
    """One node; its outputs are labels, int64, and floats, unless they say something else."""
    elements = {"label": TensorProto.INT64, "whole": TensorProto.INT64, "wide": TensorProto.DOUBLE}
    ports = [helper.make_tensor_value_info(name, elements.get(name, TensorProto.FLOAT), None) for name in outputs]
    x = helper.make_tensor_value_info("x", ELEMENTS[dtype], [f"n{i}" for i in range(rank)])
    node = helper.make_node(op, ["x"], list(outputs), domain=ML, **attributes)
    graph = helper.make_graph([node], "g", [x], ports)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)])


def check(model: Any, x: Array, tolerance: float = 1e-5) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {"x": x})
    net = mx.onnx.import_model(model)
    references = by_references(net, x)
    net.hybridize(backend="MINIDNN")
    for some in (references, run(net, x)):
        for got, want in zip(some, wanted, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, tolerance, tolerance)
    assert not [s for s in net._latest_program.latest.program.steps if type(s).__name__ == "HostStep"]


def random_trees(kind: str, trees: int, targets: int, modes: Any = MODES[:1], low: float = -1.0) -> dict[str, Any]:
    """Attributes of trees of different shapes, whose nodes are in no order but that roots come first."""
    nodes: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values")}
    nodes.update({name: [] for name in ("truenodeids", "falsenodeids", "missing_value_tracks_true")})
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        # The second half of the nodes are leaves: node i has the children 2 i + 1 and 2 i + 2.
        inner = int(RNG.integers(1, 9))
        numbers = RNG.permutation(2 * inner + 1).tolist()
        for i, number in enumerate(numbers):
            is_leaf = i >= inner
            nodes["treeids"].append(3 * tree)
            nodes["nodeids"].append(number)
            nodes["featureids"].append(0 if is_leaf else int(RNG.integers(0, 4)))
            nodes["modes"].append("LEAF" if is_leaf else str(RNG.choice(modes)))
            nodes["values"].append(float(RNG.integers(-2, 3)))
            nodes["truenodeids"].append(0 if is_leaf else numbers[2 * i + 1])
            nodes["falsenodeids"].append(0 if is_leaf else numbers[2 * i + 2])
            nodes["missing_value_tracks_true"].append(0 if is_leaf else int(RNG.integers(0, 2)))
            for target in range(targets) if is_leaf else ():
                leaves["treeids"].append(3 * tree)
                leaves["nodeids"].append(number)
                leaves["ids"].append(target)
                leaves["weights"].append(float(np.float32(RNG.uniform(low, 1))))
    return {
        **{f"nodes_{name}": column for name, column in nodes.items()},
        **{f"{kind}_{name}": column for name, column in leaves.items()},
    }


def rows(count: int = 23, with_nan: bool = True) -> Array:
    x = RNG.integers(-3, 4, (count, 4)).astype(np.float32)
    if with_nan:
        x[1, 2], x[4] = np.nan, np.nan
    return x


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("targets", [1, 3])
def test_regressors(aggregate: str, targets: int) -> None:
    attributes = random_trees("target", 7, targets)
    base = [0.5, -1.0, 2.0][:targets]
    model = model_of(
        "TreeEnsembleRegressor", n_targets=targets, aggregate_function=aggregate, base_values=base, **attributes
    )
    check(model, rows())


@pytest.mark.parametrize("mode", MODES)
def test_comparisons(mode: str) -> None:
    check(model_of("TreeEnsembleRegressor", n_targets=1, **random_trees("target", 5, 1, [mode])), rows())


def test_nodes_that_compare_in_different_ways() -> None:
    check(model_of("TreeEnsembleRegressor", n_targets=2, **random_trees("target", 9, 2, MODES)), rows(300))


def test_trees_of_float64() -> None:
    attributes = random_trees("target", 6, 2)
    for name in ("nodes_values", "target_weights"):
        attributes[f"{name}_as_tensor"] = numpy_helper.from_array(np.array(attributes.pop(name), np.float64))
    # A threshold that float32 does not tell from its neighbour.
    values = numpy_helper.to_array(attributes["nodes_values_as_tensor"]) + 1e-9
    attributes["nodes_values_as_tensor"] = numpy_helper.from_array(values)
    x = rows().astype(np.float64)
    x[::2] += 1e-9
    check(model_of("TreeEnsembleRegressor", "float64", n_targets=2, **attributes), x)


def test_trees_of_integers() -> None:
    attributes, x = random_trees("target", 6, 2), rows(with_nan=False)
    wanted = run(mx.onnx.import_model(model_of("TreeEnsembleRegressor", n_targets=2, **attributes)), x)[0]
    model = model_of("TreeEnsembleRegressor", "int64", n_targets=2, **attributes)
    np.testing.assert_array_equal(run(mx.onnx.import_model(model), x.astype(np.int64))[0], wanted)


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers(transform: str, classes: int) -> None:
    attributes = random_trees("class", 6, classes)
    labels = [7, -2, 5][:classes]
    model = model_of(
        "TreeEnsembleClassifier",
        outputs=("label", "y"),
        classlabels_int64s=labels,
        post_transform=transform,
        **attributes,
    )
    x = rows()
    if classes == 2:
        # ONNX Runtime takes the sign of the second score for the label; here it is the greater one's.
        net = mx.onnx.import_model(model)
        label, scores = run(net, x)
        assert label.tolist() == np.array(labels)[scores.argmax(1)].tolist()
        return
    check(model, x)


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("only", [0, 1])
def test_two_classes_of_which_one_has_weights(low: float, transform: str, only: int) -> None:
    attributes = random_trees("class", 3, 1, low=low)
    attributes["class_ids"] = [only] * len(attributes["class_ids"])
    if low == 0:
        attributes["class_weights"] = [w / 3 for w in attributes["class_weights"]]
    model = model_of(
        "TreeEnsembleClassifier",
        outputs=("label", "y"),
        classlabels_int64s=[4, 9],
        post_transform=transform,
        **attributes,
    )
    check(model, rows())


def test_trees_that_are_none_are_refused() -> None:
    good = random_trees("target", 1, 1)
    inner = good["nodes_modes"].index("BRANCH_LEQ")
    child = good["nodes_truenodeids"][inner]

    def changed(name: str, place: int, value: Any) -> dict[str, Any]:
        column = list(good[name])
        column[place] = value
        return {**good, name: column}

    x = rows()
    for attributes, message in (
        (changed("nodes_truenodeids", inner, 1000), "tree 0 has no node 1000"),
        (changed("nodes_falsenodeids", inner, child), "one node that no other leads to"),
        (changed("nodes_featureids", inner, 4), r"features must lie in \[0, 4\)"),
        (changed("target_ids", 0, 3), r"targets must lie in \[0, 1\)"),
        (changed("nodes_modes", inner, "BRANCH_MEMBER"), "'BRANCH_MEMBER' is not supported"),
        ({**good, "nodes_values": good["nodes_values"][1:]}, "as many elements"),
    ):
        with pytest.raises(MXNetError, match=message):
            run(mx.onnx.import_model(model_of("TreeEnsembleRegressor", n_targets=1, **attributes)), x)
    texts = {"classlabels_strings": ["a", "b"], **random_trees("class", 1, 2)}
    with pytest.raises(GraphError, match="labels that are strings"):
        run(mx.onnx.import_model(model_of("TreeEnsembleClassifier", outputs=("label", "y"), **texts)), x)


# ---- linear models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_linear_models(transform: str) -> None:
    x, weights = rows(with_nan=False), RNG.normal(size=12).astype(np.float32).tolist()
    check(model_of("LinearRegressor", coefficients=weights, intercepts=[0.5, 1.0, -1.0], targets=3), x)
    check(model_of("LinearRegressor", coefficients=weights[:4]), x)
    more = {"post_transform": transform, "outputs": ("label", "y")}
    attributes = {"coefficients": weights, "intercepts": [0.5, 1.0, -1.0], "classlabels_ints": [3, 1, 8]}
    check(model_of("LinearClassifier", **attributes, **more), x)


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
def test_support_vector_regressors(kernel: str) -> None:
    attributes = {
        "coefficients": RNG.normal(size=5).astype(np.float32).tolist(),
        "support_vectors": RNG.normal(size=20).astype(np.float32).tolist(),
        "rho": [0.25],
        "n_supports": 5,
        "kernel_params": [0.125, 0.5, 3.0],
    }
    check(model_of("SVMRegressor", kernel_type=kernel, **attributes), rows(with_nan=False), 1e-4)


# ---- features --------------------------------------------------------------------------------------------


def test_numbers_of_each_column() -> None:
    x = rows()
    check(model_of("Scaler", offset=[1.0, 2.0, 0.5, 0.0], scale=[2.0, 0.5, 1.0, 3.0]), x)
    check(model_of("Scaler", offset=[1.0], scale=[2.0]), x)
    check(model_of("Scaler", "int64", offset=[1.0], scale=[0.5]), np.nan_to_num(x).astype(np.int64))
    check(model_of("Binarizer", threshold=1.0), np.nan_to_num(x))
    check(model_of("Imputer", imputed_value_floats=[9.0, 8.0, 7.0, 6.0], replaced_value_float=float("nan")), x)
    check(model_of("Imputer", imputed_value_floats=[9.0], replaced_value_float=1.0), np.nan_to_num(x))
    whole = np.nan_to_num(x).astype(np.int64)
    check(model_of("Imputer", "int64", ("whole",), imputed_value_int64s=[9], replaced_value_int64=2), whole)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalized_rows(norm: str) -> None:
    # Of maxima ONNX Runtime has those of the numbers, ONNX those of magnitudes.
    check(model_of("Normalizer", norm=norm), np.abs(rows(with_nan=False)) + 0.5)


def test_categories() -> None:
    x = np.array([[3, 1], [2, 9], [3, 3]], np.int64)
    check(model_of("OneHotEncoder", "int64", cats_int64s=[1, 2, 3], zeros=1), x)
    check(model_of("LabelEncoder", "int64", ("whole",), keys_int64s=[3, 1, 9], values_int64s=[5, 6, 7]), x)
    real = np.array([[3.0, np.nan], [-0.0, 2.5]], np.float32)
    keys = {"keys_floats": [float("nan"), 0.0, 3.0], "default_float": -4.0}
    coded = model_of("LabelEncoder", values_floats=[1.0, 2.0, 3.0], **keys)
    check(coded, real)
    # Since that version NaN is a key.
    coded.opset_import[1].version = 4
    assert run(mx.onnx.import_model(coded), real)[0].tolist() == [[3, 1], [2, -4]]
    strict = mx.onnx.import_model(model_of("OneHotEncoder", "int64", cats_int64s=[1, 2, 3], zeros=0))
    with pytest.raises(MXNetError, match="none of the categories"):
        run(strict, x)


def test_probabilities_by_label_are_the_array_of_them() -> None:
    linear = {"coefficients": [1.0, 2.0, -1.0, 0.5] * 2, "intercepts": [0.0, 1.0], "classlabels_ints": [3, 1]}
    nodes = [
        helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain=ML, **linear),
        helper.make_node("ZipMap", ["scores"], ["by_label"], domain=ML, classlabels_int64s=[3, 1]),
    ]
    types = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, None),
        onnx.ValueInfoProto(name="by_label", type=helper.make_sequence_type_proto(types)),
    ]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)])
    x = rows(5, with_nan=False)
    label, scores = run(mx.onnx.import_model(model), x)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert label.tolist() == wanted[0].tolist()
    np.testing.assert_allclose(scores, [[row[3], row[1]] for row in wanted[1]], 1e-5, 1e-5)
