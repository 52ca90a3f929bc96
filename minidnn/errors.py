"""The exceptions minidnn raises.

`MXNetError` keeps MXNet's name, so that ``except mx.MXNetError`` in an existing script still catches
what it meant to catch. Where a standard Python exception says it better (`ValueError` for a wrong
value, `TypeError` for a wrong type), the classes below are that exception as well.
"""

from __future__ import annotations

__all__ = [
    "DataError",
    "GraphError",
    "MXNetError",
    "OpError",
    "SettingError",
    "ShapeError",
    "SizeError",
    "TypeMismatchError",
    "UnsupportedError",
]


class MXNetError(Exception):
    """Base of every error minidnn raises on its own account."""


class OpError(MXNetError, ValueError):
    """An operator got an attribute or an input it cannot work with.

    Attributes:
        layer: the block or node, as users call it, whose operator it is, of an error of a graph.
        reason: what that operator said, of an error of a graph.
        is_explained: whether the message says what the network was called with.
    """

    layer = ""
    reason = ""
    is_explained = False


class ShapeError(OpError):
    """A shape or a rank does not fit."""


class SizeError(OpError):
    """A result whose size depends on values has another size than the graph was traced for, or an unknown one."""


class TypeMismatchError(OpError, TypeError):
    """A dtype does not fit."""


class UnsupportedError(MXNetError, NotImplementedError):
    """An argument has a value that NumPy knows and that is not offered, as in MXNet."""


class SettingError(MXNetError, ValueError):
    """An environment variable, or the call that stands for it, has a value that it cannot have."""


class GraphError(MXNetError, ValueError):
    """A graph is malformed: a cycle, an unknown op, a missing input."""


class DataError(MXNetError, ValueError):
    """A file or an array from outside is damaged, truncated or refused."""
