"""The examples run as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import DOCS, write_record

pytestmark = pytest.mark.slow

EXAMPLES = DOCS.parent / "examples"
LINES = ["FP32", "FP32 fused", "INT8 Naive", "INT8 Entropy"]


def run(name: str, *arguments: str, cwd: Path) -> list[str]:
    """The lines that an example prints."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def accuracies(lines: list[str]) -> list[tuple[str, float, float]]:
    pattern = r"(.{12}) Top1 Accuracy: (\d\.\d{4}) Top5 Accuracy: (\d\.\d{4}) from +\d+ batches in +\d+\.\d\ds"
    found = [re.fullmatch(pattern, line) for line in lines]
    return [(match[1].strip(), float(match[2]), float(match[3])) for match in found if match]


def test_the_benchmark_times_a_network_three_ways(tmp_path: Path) -> None:
    lines = run("benchmark.py", "mobilenet0.25", "--size=32", "--batch-size=2", "--batches=2", cwd=tmp_path)
    assert [line.split()[0] for line in lines] == ["eager", "fused", "int8"]
    assert all(re.fullmatch(r"\w+ +\d+\.\d\d ms a batch +\d+\.\d images/s", line) for line in lines)


def test_the_digits_are_known_in_float32_and_in_int8(tmp_path: Path) -> None:
    found = accuracies(run("accuracy.py", cwd=tmp_path))
    assert [name for name, _, _ in found] == LINES
    assert found[0][1:] == found[1][1:]
    for _, top1, top5 in found:
        assert top1 > 0.85
        assert top5 > 0.97


def test_a_record_file_is_measured(tmp_path: Path) -> None:
    write_record(tmp_path / "val.rec", images=2)
    found = accuracies(run("accuracy.py", "val.rec", "--batch-size=1", "--calibrate=1", cwd=tmp_path))
    assert [name for name, _, _ in found] == LINES


def test_networks_that_detect_and_segment_run_three_ways(tmp_path: Path) -> None:
    lines = run("detection.py", "--size=48", cwd=tmp_path)
    names = ["ssd", "yolo", "segmentation"]
    kinds = ["float32", "fused", "int8"]
    assert [line.split()[:2] for line in lines] == [[name, kind] for name in names for kind in kinds]
    assert all("at most 0.00" in line for line in lines[1::3])
    assert all(int(re.findall(r"\d+", line[22:])[0]) > 0 for line in lines)
