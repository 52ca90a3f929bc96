"""Pooling of data whose channels are the last dimension.

The operator itself is channels first. The compiler keeps images channels last in memory, where the transpositions
around it are views.
"""

from __future__ import annotations

from typing import Any

from minidnn.dispatch import invoke_one
from minidnn.errors import ShapeError
from minidnn.numpy.convert import as_array
from minidnn.numpy.multiarray import ndarray

__all__ = ["channels_first", "pool"]

_CHANNELS_FIRST = {"NWC": "NCW", "NHWC": "NCHW", "NDHWC": "NCDHW"}


def channels_first(layout: str | None) -> str | None:
    """The layout with the channels moved to the second place: ``NHWC`` becomes ``NCHW``."""
    return layout if layout is None else _CHANNELS_FIRST.get(layout, layout)


def pool(x: Any, layout: str | None, **attrs: Any) -> ndarray:
    """The operator ``pooling`` on data of either kind of layout.

    Raises:
        OpError: shapes, dtypes or attributes do not fit.
    """
    data = as_array(x)
    if layout not in _CHANNELS_FIRST:
        return invoke_one("pooling", data, layout=layout, **attrs)
    if data.ndim != len(layout):
        raise ShapeError(f"pooling: data must have {len(layout)} dimensions ({', '.join(layout)}), got {data.shape}")
    first = invoke_one("moveaxis", data, source=-1, destination=1)
    pooled = invoke_one("pooling", first, layout=channels_first(layout), **attrs)
    return invoke_one("moveaxis", pooled, source=1, destination=-1)
