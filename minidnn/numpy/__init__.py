"""`mx.np`: arrays with NumPy's interface, float32 by default."""

from __future__ import annotations

import numpy as _np

from minidnn.numpy import contractions, creation, delegated, elementwise, linear, manipulation, random, reductions
from minidnn.numpy.contractions import *  # noqa: F403
from minidnn.numpy.creation import *  # noqa: F403
from minidnn.numpy.delegated import *  # noqa: F403
from minidnn.numpy.elementwise import *  # noqa: F403
from minidnn.numpy.linear import *  # noqa: F403
from minidnn.numpy.manipulation import *  # noqa: F403
from minidnn.numpy.multiarray import ndarray
from minidnn.numpy.protocol import OwnFunctions
from minidnn.numpy.reductions import *  # noqa: F403

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
__all__ += contractions.__all__
__all__ += creation.__all__
__all__ += delegated.__all__
__all__ += elementwise.__all__
__all__ += linear.__all__
__all__ += manipulation.__all__
__all__ += reductions.__all__

ndarray._numpy_protocol = OwnFunctions({name: globals()[name] for name in __all__})
