"""Tracing: operators applied to arrays without data are written down as a graph.

    trace = Trace(ndarray)
    x = trace.input("data", TensorType((1, 3, 8, 8), np.dtype("float32")))
    y = trace.run(net.forward, x)
    graph = trace.graph([y])

What a `Trace` knows beside the graph are the concrete arrays it needs: the parameters by name, and the
constants, arrays that met traced ones on the way. Of the arrays it knows what `Traceable` says.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np

from minidnn.errors import GraphError, MXNetError
from minidnn.ir.graph import Entry, Graph, Node, make_node, make_variable
from minidnn.ir.sizes import depends_on_size, with_sizes
from minidnn.ops.registry import Attrs, Op, TensorType
from minidnn.scope import current_scope
from minidnn.user_code import at_user_line
