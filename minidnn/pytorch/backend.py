from __future__ import annotations

from typing import Any


def torch_backend(graph: Any, inputs: Any) -> Any: ...
def register_torch_backend() -> None: ...
