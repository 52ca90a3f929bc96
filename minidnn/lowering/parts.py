"""How finely steps are cut for threads."""

from __future__ import annotations

__all__ = ["PARTS"]

# Enough parts to keep threads busy to the end, where the work is large enough for so many.
PARTS = 24
