"""Links in the reference: what a docstring tells its readers to see becomes a cross-reference, as `mkdocs.yml` asks.

A name that the reference does not show makes the site's strict build fail.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SEE = re.compile(r"\b([Ss]ee(?:\s+also)?\s+)`([A-Za-z_][\w.]*)`")


class SeeLinks(griffe.Extension):  # type: ignore[misc,unused-ignore]
    """Makes "see `name`" a link to the name as the docstring's scope knows it."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _SEE.sub(r"\1[`\2`][\2]", obj.docstring.value)
