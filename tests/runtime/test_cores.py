"""How many cores a process may use: affinity, and quotas of control groups of both versions."""

import os

import pytest

from minidnn.runtime import cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 cores with folders of control groups, to be filled."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "groups")
    (tmp_path / "groups").mkdir()

    def write(process, **files):
        (tmp_path / "cgroup").write_text(process)
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", 64),
        ("50000 100000", 1),
        ("150000 100000", 1),
        ("400000 100000", 4),
        ("9900000 100000", 64),
        ("", 64),
        ("x y", 64),
        ("100 0", 64),
        ("-1 100000", 64),
        ("1 2 3", 64),
    ],
)
def test_the_quota_of_version_2(machine, limit, expected):
    machine("0::/user/job\n", **{"user/job/cpu.max": limit + "\n"})
    assert cores.usable_cores() == expected


def test_the_tightest_group_around_counts(machine):
    files = {"a/cpu.max": "200000 100000", "a/b/cpu.max": "800000 100000", "a/b/c/cpu.max": "max 100000"}
    machine("0::/a/b/c\n", **files)
    assert cores.usable_cores() == 2


def test_a_container_sees_its_own_group_at_the_root(machine):
    machine("0::/machine.slice/container-7\n", **{"cpu.max": "300000 100000"})
    assert cores.usable_cores() == 3


@pytest.mark.parametrize(("quota", "expected"), [("250000", 2), ("-1", 64), ("5000", 1)])
def test_the_quota_of_version_1(machine, quota, expected):
    files = {"cpu,cpuacct/job/cpu.cfs_quota_us": quota, "cpu,cpuacct/job/cpu.cfs_period_us": "100000"}
    machine("5:memory:/job\n4:cpu,cpuacct:/job\n0::/\n", **files)
    assert cores.usable_cores() == expected


def test_without_control_groups_the_affinity_counts(machine, monkeypatch):
    assert cores.usable_cores() == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert cores.usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.usable_cores() == 1
