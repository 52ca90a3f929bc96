"""Features and linear models of the domain ``ai.onnx.ml``, as far as they are numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidnn.interop.onnx.call import Call, rule
from minidnn.interop.onnx.rules.linear import matmul
from minidnn.interop.onnx.rules.trees import DOMAIN, as_floats, class_labels, label_of, post_transform
from minidnn.interop.onnx.values import Value, known

__all__: list[str] = []

Array = np.ndarray[Any, Any]
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
# The version of the set of operators from which on NaN equals NaN in ``LabelEncoder``.
_NAN_IS_A_KEY = 4
# Rows are divided by their norms, which are no smaller.
_LEAST_NORM = 1e-30


def _constant(call: Call, name: str, dtype: Any = np.float32) -> Value:
    return known(np.array(call.reals(name), dtype))


@rule("Scaler", domain=DOMAIN)
def _scaler(call: Call) -> Value:
    """(x - offset) * scale, in float32."""
    x = call.cast(call[0], np.float32)
    moved = call.emit("subtract", x, _constant(call, "offset"))
    return call.emit("multiply", moved, _constant(call, "scale"))


@rule("Normalizer", domain=DOMAIN)
def _normalizer(call: Call) -> Value:
    kind, x = call.text("norm", "MAX", ("MAX", "L1", "L2")), call.cast(call[0], np.float32)
    if kind == "L2":
        norm = call.emit("sqrt", call.emit("sum", call.emit("square", x), axis=(-1,), keepdims=True))
    else:
        norm = call.emit("max" if kind == "MAX" else "sum", call.emit("abs", x), axis=(-1,), keepdims=True)
    return call.binary("true_divide", x, call.binary("maximum", norm, _LEAST_NORM))


@rule("Binarizer", domain=DOMAIN)
def _binarizer(call: Call) -> Value:
    return call.cast(call.binary("greater", call[0], call.real("threshold", 0.0)), call[0].dtype)


@rule("Imputer", domain=DOMAIN)
def _imputer(call: Call) -> Value:
    """A number for each column instead of those that are missing."""
    x = call[0]
    if x.element.is_float:
        values, wanted = call.reals("imputed_value_floats"), call.real("replaced_value_float", 0.0)
        call.ignore("imputed_value_int64s", "replaced_value_int64")
    else:
        values, wanted = call.integers("imputed_value_int64s"), call.integer("replaced_value_int64", 0)
        call.ignore("imputed_value_floats", "replaced_value_float")
    if not values:
        call.fail("imputed values must be given, of the type of the input")
    is_missing = call.emit("isnan", x) if wanted != wanted else call.binary("equal", x, call.like(wanted, x))
    return call.emit("where", is_missing, known(np.array(values, x.dtype)), x)


@rule("ArrayFeatureExtractor", domain=DOMAIN)
def _extractor(call: Call) -> Value:
    """Columns; a vector is a row."""
    x = call[0] if call[0].ndim > 1 else call.reshape(call[0], (1, -1))
    columns = call.reshape(call.cast(call[1], np.int64), (-1,))
    return call.emit("index", x, columns, axes=(x.ndim - 1,))


@rule("FeatureVectorizer", domain=DOMAIN)
def _vectorizer(call: Call) -> Value:
    """Columns of all inputs, side by side."""
    call.ignore("inputdimensions")
    parts = [call.cast(x, np.float32) for x in call.all()]
    return call.concatenate([x if x.ndim > 1 else call.reshape(x, (1, -1)) for x in parts], 1)


@rule("OneHotEncoder", domain=DOMAIN)
def _one_hot(call: Call) -> Value:
    if call.has("cats_strings") and call.texts("cats_strings"):
        call.refuse("categories that are strings are not supported")
    x, kinds = call[0], known(np.array(call.integers("cats_int64s"), np.int64))
    # Numbers are cut off, as ONNX Runtime has it.
    whole = call.expand_dims(call.cast(x, np.int64), (x.ndim,))
    is_kind = call.emit("equal", whole, kinds)
    result = call.cast(is_kind, np.float32)
    if call.flag("zeros", True):
        return result
    found = call.emit("any", is_kind, axis=(x.ndim,))
    checked = call.emit("constraint_check", found, msg=f"{call.label}: a value is none of the categories")
    return call.emit("depend", result, checked, num_args=2)


@rule("LabelEncoder", domain=DOMAIN)
def _label_encoder(call: Call) -> Value:
    """What stands for each key; the default stands for what is none."""
    if any(call.has(name) for name in ("keys_strings", "values_strings", "classes_strings")):
        call.refuse("keys or values that are strings are not supported")
    x, keys, values = call[0], _listed(call, "keys"), _listed(call, "values")
    if len(keys) != len(values) or not len(keys):
        call.fail(f"there must be a value for each key, got {len(keys)} keys and {len(values)} values")
    default = _default(call, values)
    keys = keys.astype(x.dtype)
    # Of keys that are given twice the last one counts, as in a dictionary.
    order = np.argsort(keys, kind="stable")
    sorted_keys, sorted_values = keys[order], values[order]
    place = call.emit("searchsorted", known(sorted_keys), x, side="right")
    place = call.emit("clip", call.binary("subtract", place, 1), a_min=0, a_max=len(keys) - 1)
    key = call.emit("take", known(sorted_keys), place, axis=0, mode="clip")
    is_found = call.emit("equal", key, x)
    if keys.dtype.kind == "f" and call.opset >= _NAN_IS_A_KEY:
        is_found = call.emit(
            "logical_or", is_found, call.emit("logical_and", *(call.emit("isnan", v) for v in (key, x)))
        )
    value = call.emit("take", known(sorted_values), place, axis=0, mode="clip")
    return call.emit("where", is_found, value, known(np.array(default, values.dtype)))


def _listed(call: Call, name: str) -> Array:
    found = call.tensor(f"{name}_tensor", None)
    if found is not None:
        return found.array.reshape(-1)
    if call.has(f"{name}_floats"):
        return np.array(call.reals(f"{name}_floats"), np.float32)
    return np.array(call.integers(f"{name}_int64s"), np.int64)


def _default(call: Call, values: Array) -> Any:
    call.text("default_string", "")
    real, whole = call.real("default_float", -0.0), call.integer("default_int64", -1)
    found = call.tensor("default_tensor", None)
    if found is not None:
        return found.array.reshape(-1)[0]
    return real if values.dtype.kind == "f" else whole


# ---- linear models ---------------------------------------------------------------------------------------


def _affine(call: Call, rows: int, intercepts: Sequence[float]) -> Value:
    """Products of the data with `rows` rows of coefficients, and intercepts, in float32."""
    x, coefficients = as_floats(call, call[0]), np.array(call.reals("coefficients"), np.float32)
    if rows < 1 or coefficients.size % rows or len(intercepts) not in (0, rows):
        call.fail(f"there must be {rows} rows of coefficients and intercepts, got {coefficients.size} numbers")
    weight = known(np.ascontiguousarray(coefficients.reshape(rows, -1).T).astype(x.dtype))
    scores = matmul(call, x, weight)
    if intercepts:
        scores = call.emit("add", scores, known(np.array(intercepts, x.dtype)))
    return call.cast(scores, np.float32)


@rule("LinearRegressor", domain=DOMAIN)
def _linear_regressor(call: Call) -> Value:
    scores = _affine(call, call.integer("targets", 1), call.reals("intercepts", ()) or ())
    return post_transform(call, scores, call.text("post_transform", "NONE", _TRANSFORMS))


@rule("LinearClassifier", domain=DOMAIN)
def _linear_classifier(call: Call) -> list[Value]:
    """Labels and scores; of one row of coefficients the other class has the opposite score."""
    call.ignore("multi_class")
    labels, intercepts = class_labels(call, "classlabels_ints"), call.reals("intercepts", ()) or ()
    kind, rows = call.text("post_transform", "NONE", _TRANSFORMS), len(intercepts) or len(labels)
    scores = _affine(call, rows, intercepts)
    if rows == 1 and len(labels) == 2:
        scores = call.concatenate([call.emit("negative", scores), scores], 1)
    elif rows != len(labels):
        call.fail(f"there are {len(labels)} labels and {rows} rows of coefficients")
    return [label_of(call, scores, labels), post_transform(call, scores, kind)]


@rule("SVMRegressor", domain=DOMAIN)
def _svm_regressor(call: Call) -> Value:
    """Sums over support vectors of a kernel function (Drucker et al., Support Vector Regression Machines, 1996)."""
    kernel = call.text("kernel_type", "LINEAR", ("LINEAR", "POLY", "RBF", "SIGMOID"))
    gamma, shift, degree = (*(call.reals("kernel_params", ()) or ()), 0.0, 0.0, 0.0)[:3]
    x, coefficients = call.cast(call[0], np.float32), np.array(call.reals("coefficients"), np.float32)
    rho, count = np.array(call.reals("rho"), np.float32)[:1], call.integer("n_supports", 0)
    vectors = np.array(call.reals("support_vectors", ()) or (), np.float32)
    kind, one_class = call.text("post_transform", "NONE", _TRANSFORMS), call.integer("one_class", 0)
    if count:
        if len(coefficients) != count or not vectors.size or vectors.size % count:
            call.fail(f"attributes must have {count} coefficients and as many support vectors")
        some = _kernel(call, x, vectors.reshape(count, -1), kernel, (gamma, shift, degree))
    else:
        some = x
    scores = call.emit("add", matmul(call, some, known(coefficients.reshape(-1, 1))), known(rho))
    if one_class:
        is_inside = call.cast(call.binary("greater", scores, 0.0), np.float32)
        return call.binary("subtract", call.binary("multiply", is_inside, 2.0), 1.0)
    return post_transform(call, scores, kind)


def _kernel(call: Call, x: Value, vectors: Array, kind: str, numbers: tuple[float, float, float]) -> Value:
    """The kernel function of each row with each support vector."""
    gamma, shift, degree = numbers
    products = matmul(call, x, known(np.ascontiguousarray(vectors.T)))
    if kind == "LINEAR":
        return products
    if kind == "RBF":
        own = call.emit("sum", call.emit("square", x), axis=(-1,), keepdims=True)
        theirs = known((vectors.astype(np.float64) ** 2).sum(1).astype(np.float32))
        distance = call.emit("add", call.binary("subtract", own, call.binary("multiply", products, 2.0)), theirs)
        return call.emit("exp", call.binary("multiply", distance, -gamma))
    moved = call.binary("add", call.binary("multiply", products, gamma), shift)
    return call.emit("tanh", moved) if kind == "SIGMOID" else call.binary("power", moved, degree)


@rule("ZipMap", domain=DOMAIN)
def _zip_map(call: Call) -> Value:
    """Probabilities by label: the array of them, (rows, classes), in the order of the labels."""
    call.ignore("classlabels_int64s", "classlabels_strings")
    return call[0]
