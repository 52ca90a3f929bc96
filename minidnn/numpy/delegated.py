"""Functions that NumPy computes on the values at hand.

While a network is traced, `minidnn.numpy.recorded` and `composed` have the operators that compute the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from minidnn.ir.trace import no_data
from minidnn.numpy.base import deliver
from minidnn.numpy.composed import RECORDED
from minidnn.numpy.convert import as_array, check_device, find_traced, to_numpy, wrap
from minidnn.numpy.elementwise import _binary
from minidnn.numpy.multiarray import ndarray
from minidnn.user_code import named

__all__ = [
    "allclose",
    "apply_along_axis",
    "argpartition",
    "argsort",
    "argwhere",
    "array_equal",
    "array_equiv",
    "bincount",
    "blackman",
    "choose",
    "compress",
    "corrcoef",
    "count_nonzero",
    "cov",
    "cross",
    "cumprod",
    "cumsum",
    "delete",
    "diag",
    "diag_indices_from",
    "diagflat",
    "diagonal",
    "diff",
    "digitize",
    "ediff1d",
    "flatnonzero",
    "hamming",
    "hanning",
    "heaviside",
    "histogram",
    "indices",
    "insert",
    "interp",
    "intersect1d",
    "isclose",
    "isin",
    "kron",
    "lexsort",
    "logaddexp",
    "may_share_memory",
    "median",
    "meshgrid",
    "nan_to_num",
    "nanmax",
    "nanmean",
    "nanmin",
    "nansum",
    "nonzero",
    "partition",
    "percentile",
    "polyval",
    "ptp",
    "quantile",
    "resize",
    "searchsorted",
    "setdiff1d",
    "shares_memory",
    "sort",
    "take_along_axis",
    "trace",
    "tri",
    "tril",
    "tril_indices",
    "triu",
    "triu_indices",
    "union1d",
    "unique",
    "unravel_index",
]


# Keywords of MXNet's, and of NumPy 1, that NumPy 2 calls otherwise.
_RENAMED = {"interpolation": "method"}


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # written in C, without a text that says it
        return None


def _delegate(name: str, doc: str) -> Callable[..., Any]:
    computed = getattr(np, name)
    signature = _signature(computed)
    takes_dtype = signature is None or "dtype" in signature.parameters

    def function(*args: Any, **kwargs: Any) -> Any:
        check_device(kwargs.pop("device", None) or kwargs.pop("ctx", None))
        kwargs = {_RENAMED.get(key, key): value for key, value in kwargs.items()}
        dtype = None if takes_dtype else kwargs.pop("dtype", None)
        traced = find_traced((args, kwargs))
        if traced is not None:
            return _record(name, traced, args, kwargs)
        out = kwargs.pop("out", None)
        wide = _has_float64(args) or _has_float64(list(kwargs.values())) or _asks_for_float64(computed, args, kwargs)
        value = computed(*to_numpy(args), **to_numpy(kwargs))
        result = wrap(value if wide else _in_default(value))
        return deliver(result if dtype is None else result.astype(dtype, copy=False), out)

    if signature is not None:
        function.__signature__ = signature  # type: ignore[attr-defined] # what `inspect` and `help` show
    return named(
        function,
        name,
        f"{doc}\n\nAs `numpy.{name}`, which computes it; float32 stands for float64 as the default dtype.",
    )


def _record(name: str, traced: ndarray, args: Any, kwargs: dict[str, Any]) -> Any:
    """The function on arrays that are being traced.

    Raises:
        MXNetError: there are no operators that compute it with these arguments.
    """
    recorded = RECORDED.get(name)
    if recorded is None:
        raise no_data(traced._value, f"{name}()")
    try:
        inspect.signature(recorded).bind(*args, **kwargs)
    except TypeError as error:
        raise no_data(traced._value, f"{name}() with these arguments ({error})") from None
    return recorded(*args, **kwargs)


def _in_default(value: Any) -> Any:
    """float64 results as float32, the default."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.astype(np.float32) if value.dtype == np.float64 else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map(_in_default, value))
    return value


def _asks_for_float64(function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the argument ``dtype`` is float64, given by name or by place."""
    dtype = kwargs.get("dtype")
    if dtype is None and len(args) > 1:
        names = list(inspect.signature(function).parameters)
        place = names.index("dtype") if "dtype" in names else len(args)
        dtype = args[place] if place < len(args) else None
    return dtype is not None and bool(np.dtype(dtype) == np.float64)


def _has_float64(value: Any) -> bool:
    if isinstance(value, (np.ndarray, ndarray)):
        return bool(value.dtype == np.float64)
    return isinstance(value, (list, tuple)) and any(_has_float64(v) for v in value)


allclose = _delegate("allclose", "Whether all elements are equal within a tolerance.")
apply_along_axis = _delegate("apply_along_axis", "A function applied to every vector along an axis.")
argpartition = _delegate("argpartition", "Positions that put the k-th smallest element in its place.")
argwhere = _delegate("argwhere", "Positions of the non-zero elements, one in a row.")
array_equal = _delegate("array_equal", "Whether shapes and elements are equal.")
array_equiv = _delegate("array_equiv", "Whether arrays are equal after broadcasting.")
bincount = _delegate("bincount", "How often each non-negative integer occurs.")
blackman = _delegate("blackman", "The Blackman window.")
choose = _delegate("choose", "Elements of several arrays, chosen by an array of numbers.")
compress = _delegate("compress", "The slices for which a condition holds.")
corrcoef = _delegate("corrcoef", "Pearson's correlation coefficients.")
count_nonzero = _delegate("count_nonzero", "The number of non-zero elements.")
cov = _delegate("cov", "The covariance matrix.")
cross = _delegate("cross", "The cross product of vectors.")
cumprod = _delegate("cumprod", "Products of all elements so far.")
cumsum = _delegate("cumsum", "Sums of all elements so far.")
delete = _delegate("delete", "Without the slices at some positions.")
diag = _delegate("diag", "A diagonal of a matrix, or a matrix with that diagonal.")
diag_indices_from = _delegate("diag_indices_from", "Positions of the main diagonal.")
diagflat = _delegate("diagflat", "A matrix with these elements on a diagonal.")
diagonal = _delegate("diagonal", "The diagonals of two axes.")
diff = _delegate("diff", "Differences of neighbours.")
digitize = _delegate("digitize", "The bins that elements fall into.")
ediff1d = _delegate("ediff1d", "Differences of neighbours in the flattened array.")
flatnonzero = _delegate("flatnonzero", "Positions of the non-zero elements in the flattened array.")
hamming = _delegate("hamming", "The Hamming window.")
hanning = _delegate("hanning", "The Hann window.")
heaviside = _binary("heaviside", "0 below zero, 1 above, the second argument at zero.")
histogram = _delegate("histogram", "How many elements fall into each bin.")
indices = _delegate("indices", "Arrays of the positions in a grid.")
insert = _delegate("insert", "With slices added at some positions.")
interp = _delegate("interp", "Linear interpolation between points.")
intersect1d = _delegate("intersect1d", "The elements both arrays have.")
isclose = _delegate("isclose", "Where elements are equal within a tolerance.")
isin = _delegate("isin", "Where elements occur in another array.")
kron = _delegate("kron", "Kronecker's product.")
lexsort = _delegate("lexsort", "Positions that sort by several keys, the last one first.")
logaddexp = _binary("logaddexp", "log(exp(x1) + exp(x2)).")
may_share_memory = _delegate("may_share_memory", "Whether the memory ranges of two arrays overlap.")
median = _delegate("median", "The middle of the sorted elements.")
meshgrid = _delegate("meshgrid", "Coordinates of a grid, one array for each axis.")
nan_to_num = _delegate("nan_to_num", "With numbers instead of nan and infinities.")
nanmax = _delegate("nanmax", "The largest element that is a number.")
nanmean = _delegate("nanmean", "The mean of the elements that are numbers.")
nanmin = _delegate("nanmin", "The smallest element that is a number.")
nansum = _delegate("nansum", "The sum of the elements that are numbers.")
nonzero = _delegate("nonzero", "Positions of the non-zero elements, one array for each axis.")
partition = _delegate("partition", "With the k-th smallest element in its place.")
percentile = _delegate("percentile", "The elements below which so many percent lie.")
polyval = _delegate("polyval", "The value of a polynomial.")
ptp = _delegate("ptp", "The largest element minus the smallest.")
quantile = _delegate("quantile", "The elements below which such a share lies.")
resize = _delegate("resize", "Repeated or cut to a shape.")
searchsorted = _delegate("searchsorted", "Where to insert elements to keep an array sorted.")
setdiff1d = _delegate("setdiff1d", "The elements the second array does not have.")
shares_memory = _delegate("shares_memory", "Whether two arrays have an element in common.")
take_along_axis = _delegate("take_along_axis", "Elements at positions along an axis.")
trace = _delegate("trace", "The sum of a diagonal.")
tri = _delegate("tri", "Ones at and below a diagonal.")
tril = _delegate("tril", "Zeros above a diagonal.")
tril_indices = _delegate("tril_indices", "Positions at and below a diagonal.")
triu = _delegate("triu", "Zeros below a diagonal.")
triu_indices = _delegate("triu_indices", "Positions at and above a diagonal.")
union1d = _delegate("union1d", "The elements of both arrays, sorted.")
unique = _delegate("unique", "The different elements, sorted.")
unravel_index = _delegate("unravel_index", "Flat positions as one array for each axis.")


def sort(a: Any, axis: int | None = -1, descending: bool = False, stable: bool = True) -> ndarray:
    """The elements in order along `axis`, or all of them with ``axis=None``."""
    return as_array(a).sort(axis, descending, stable)


def argsort(a: Any, axis: int | None = -1, descending: bool = False, stable: bool = True) -> ndarray:
    """The positions (int64) that would put the elements in order along `axis`; equal ones stay in their order."""
    return as_array(a).argsort(axis, descending, stable)
