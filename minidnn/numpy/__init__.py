"""`mx.np`: arrays with NumPy's interface, float32 by default."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as _np

from minidnn.missing import raising
from minidnn.numpy import (
    bits,
    conditions,
    contractions,
    creation,
    delegated,
    elementwise,
    linalg,
    linear,
    manipulation,
    nans,
    polynomials,
    random,
    reductions,
    samples,
    sets,
    types,
)
from minidnn.numpy.bits import *  # noqa: F403
from minidnn.numpy.conditions import *  # noqa: F403
from minidnn.numpy.contractions import *  # noqa: F403
from minidnn.numpy.creation import *  # noqa: F403
from minidnn.numpy.delegated import *  # noqa: F403
from minidnn.numpy.elementwise import *  # noqa: F403
from minidnn.numpy.fluent import show_signatures
from minidnn.numpy.linear import *  # noqa: F403
from minidnn.numpy.manipulation import *  # noqa: F403
from minidnn.numpy.multiarray import ndarray
from minidnn.numpy.nans import *  # noqa: F403
from minidnn.numpy.polynomials import *  # noqa: F403
from minidnn.numpy.protocol import OwnFunctions
from minidnn.numpy.reductions import *  # noqa: F403
from minidnn.numpy.samples import *  # noqa: F403
from minidnn.numpy.sets import *  # noqa: F403
from minidnn.numpy.types import *  # noqa: F403

float16, float32, float64 = _np.float16, _np.float32, _np.float64
int8, int16, int32, int64 = _np.int8, _np.int16, _np.int32, _np.int64
uint8, uint16, uint32, uint64 = _np.uint8, _np.uint16, _np.uint32, _np.uint64
bool = bool_ = _np.bool_
dtype = _np.dtype

pi, e = _np.pi, _np.e
inf = PINF = _np.inf
NINF = -inf
nan = NAN = NaN = _np.nan
PZERO, NZERO = 0.0, -0.0
newaxis = None

__all__ = [
    "NAN",
    "NINF",
    "NZERO",
    "PINF",
    "PZERO",
    "NaN",
    "bool",
    "bool_",
    "dtype",
    "e",
    "float16",
    "float32",
    "float64",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "linalg",
    "nan",
    "ndarray",
    "newaxis",
    "pi",
    "random",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]
__all__ += bits.__all__
__all__ += conditions.__all__
__all__ += contractions.__all__
__all__ += creation.__all__
__all__ += delegated.__all__
__all__ += elementwise.__all__
__all__ += linear.__all__
__all__ += manipulation.__all__
__all__ += nans.__all__
__all__ += polynomials.__all__
__all__ += reductions.__all__
__all__ += samples.__all__
__all__ += sets.__all__
__all__ += types.__all__

ndarray._numpy_protocol = OwnFunctions(
    {name: globals()[name] for name in __all__}, {name: getattr(linalg, name) for name in linalg.__all__}
)
ndarray._namespace = sys.modules[__name__]
show_signatures(ndarray._namespace)


if not TYPE_CHECKING:  # with it, mypy would take every name for one that is there
    __getattr__ = raising(__name__)
