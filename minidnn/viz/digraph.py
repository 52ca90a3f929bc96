"""A `graphviz.Digraph` that says how to get ``dot`` where that is missing.

Imported when the first picture is made: importing minidnn does not import graphviz.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphviz

from minidnn.errors import MXNetError

__all__ = ["DotNotFoundError", "NetworkDigraph"]


class DotNotFoundError(MXNetError, graphviz.ExecutableNotFound):  # type: ignore[misc]
    """Graphviz's program ``dot``, which turns a graph into a picture, is not installed."""

    def __init__(self) -> None:
        RuntimeError.__init__(
            self,
            "drawing needs Graphviz's program 'dot', which is not on the PATH. Install it with your system's package "
            "manager ('apt install graphviz', 'brew install graphviz', 'conda install graphviz', or see "
            "https://graphviz.org/download/); without it, the graph's text is in the attribute 'source', and "
            "save('plot.gv') writes it to a file for any Graphviz viewer; a notebook shows the graph without it, and "
            "'minidnn viz MODEL -o graph.svg' draws without it",
        )

    def __str__(self) -> str:
        return str(self.args[0])


class NetworkDigraph(graphviz.Digraph):  # type: ignore[misc]
    """What `plot_network` returns.

    A notebook shows it as our own drawing (`minidnn.viz.svg`), for which nothing need be installed.
    """

    # What `draw_digraph` made it of; a subgraph has none.
    drawing: Callable[[], str] | None = None

    def _repr_svg_(self) -> str | None:
        return None if self.drawing is None else self.drawing()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, str]:
        text = {"text/plain": f"<{type(self).__name__} {self.name}>"}
        drawn = self._repr_svg_()
        bundle = text if drawn is None else {"image/svg+xml": drawn, **text}
        return {
            key: value
            for key, value in bundle.items()
            if (include is None or key in include) and (exclude is None or key not in exclude)
        }

    def render(self, *args: Any, **kwargs: Any) -> str:
        """See `graphviz.Digraph.render`.

        Raises:
            DotNotFoundError: ``dot`` is not installed.
        """
        try:
            return str(super().render(*args, **kwargs))
        except graphviz.ExecutableNotFound:
            raise DotNotFoundError from None

    def pipe(self, *args: Any, **kwargs: Any) -> bytes | str:
        """See `graphviz.Digraph.pipe`.

        Raises:
            DotNotFoundError: ``dot`` is not installed.
        """
        try:
            piped: bytes | str = super().pipe(*args, **kwargs)
        except graphviz.ExecutableNotFound:
            raise DotNotFoundError from None
        return piped
