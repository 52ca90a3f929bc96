"""What comes before the first inference: import, optimize_for with an empty and with a warm cache, and the memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Run in a process of its own; prints seconds, and the peak of its resident memory in MB.
_SCRIPT = """
import json, resource, sys, time
start = time.perf_counter()
import minidnn as mx
imported = time.perf_counter()
net = mx.gluon.model_zoo.vision.get_model(sys.argv[1])
net.initialize(mx.init.MSRAPrelu())
data = mx.np.ones((1, 3, 224, 224))
made = time.perf_counter()
net.optimize_for(data)
optimized = time.perf_counter()
net(data).asnumpy()
ran = time.perf_counter()
print(json.dumps({
    "import": imported - start, "make": made - imported, "optimize_for": optimized - made, "first run": ran - optimized,
    "peak RSS MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def _run(model: str, cache: Path) -> dict[str, float]:
    environment = {**os.environ, "MINIDNN_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, model], env=environment, check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


@pytest.fixture
def measure(benchmark: Any, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Callable[..., None]:
    def run(model: str, cache: Path, rounds: int) -> None:
        results: list[dict[str, float]] = []
        benchmark.pedantic(lambda: results.append(_run(model, cache)), rounds=rounds)
        best = {key: min(result[key] for result in results) for key in results[0]}
        benchmark.extra_info.update(best)
        with capsys.disabled():
            print(f"\n{request.node.name}: {', '.join(f'{key} {value:.3f}' for key, value in best.items())}")

    return run


@pytest.mark.parametrize("model", ["resnet50_v1", "mobilenetv2_1.0"])
def test_empty_cache(measure: Callable[..., None], tmp_path: Path, model: str) -> None:
    measure(model, tmp_path / "cache", 1)


@pytest.mark.parametrize("model", ["resnet50_v1", "mobilenetv2_1.0"])
def test_warm_cache(measure: Callable[..., None], tmp_path: Path, model: str) -> None:
    cache = tmp_path / "cache"
    _run(model, cache)
    entries = set(cache.iterdir())
    assert entries
    measure(model, cache, 3)
    assert set(cache.iterdir()) == entries, "a second process compiled what stood in the cache"


def test_import(benchmark: Any) -> None:
    benchmark.pedantic(
        lambda: subprocess.run([sys.executable, "-c", "import minidnn"], check=True), rounds=5, warmup_rounds=1
    )
