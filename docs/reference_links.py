"""Links in the reference: what a docstring tells its readers to see becomes a cross-reference, as `mkdocs.yml` asks.

A test finds the names that the reference does not show.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SEE = re.compile(r"\b([Ss]ee )`([A-Za-z_][\w.]*)`")
_SHORT = {"mx.np.": "minidnn.numpy.", "mx.": "minidnn."}


class SeeLinks(griffe.Extension):  # type: ignore[misc,unused-ignore]
    """Makes "see `name`" a link to what the docstring's scope calls so."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        members: list[Any] = [pkg]
        while members:
            member = members.pop()
            if member.is_alias:
                continue
            members += member.members.values()
            if member.docstring is not None:
                member.docstring.value = _linked(member.docstring.value, member)


def _linked(text: str, scope: griffe.Object) -> str:
    return _SEE.sub(lambda match: f"{match[1]}[`{match[2]}`][{_path(match[2], scope)}]", text)


def _path(name: str, scope: griffe.Object) -> str:
    """Where the name is defined, which is an anchor of the page that shows it; the name itself if it is not found."""
    for short, full in _SHORT.items():
        if name.startswith(short):
            name = full + name.removeprefix(short)
            break
    first, *rest = name.split(".")
    try:
        found: Any = scope.modules_collection[first if first == "minidnn" else scope.resolve(first)]
        for part in rest:
            found = found.all_members[part]
        return str(found.canonical_path)
    except (griffe.GriffeError, KeyError):
        return name
