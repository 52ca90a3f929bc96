"""A Debian for AArch64 in a folder, whose Python runs the whole package in QEMU's user mode.

Packages are those of this machine's Debian, unpacked and never configured; what minidnn needs comes as wheels. Both are
fetched by `apt-get` and `pip`, from where this machine gets its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

__all__ = ["INSTALL", "Userland", "UserlandError", "missing"]

INSTALL = "apt-get install qemu-user, on Debian"
_EMULATOR, _TOOLS = "qemu-aarch64", ("apt-get", "dpkg-deb")
_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
# Of glibc, newest first: what Debian 12 and later run.
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_PROJECT = Path(__file__).parents[2]


class UserlandError(Exception):
    """What a program said that failed, there or while the folder was made."""


def missing() -> list[str]:
    """What is not there of what is needed; empty: nothing."""
    return [tool for tool in (_EMULATOR, *_TOOLS) if shutil.which(tool) is None]


class Userland:
    """The folder, made at once: some 400 MB, half of them LLVM.

    Args:
        folder: empty; not removed.

    Raises:
        UserlandError: packages or wheels cannot be had.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root, self._site = folder / "root", folder / "site"
        self._unpack_packages()
        self._python = (self._root / "usr/bin/python3").resolve()
        self._install_needs()

    def run(self, program: str, arguments: Sequence[str] = (), timeout: float = 3600) -> str:
        """What a Python program writes to its standard output there, in seconds of `timeout`.

        Its cache of compiled code is this folder's; it runs on one thread.

        Raises:
            UserlandError: it ended with another code than 0.
        """
        variables = {
            "PYTHONHOME": self._root / "usr",
            "PYTHONPATH": os.pathsep.join(map(str, (_PROJECT, _PROJECT / "kernels", self._site))),
            "PYTHONDONTWRITEBYTECODE": 1,
            "MINIDNN_CACHE_DIR": self._folder / "cache",
            "MINIDNN_NUM_THREADS": 1,
        }
        settings = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
        command = [_EMULATOR, "-L", str(self._root), *settings, str(self._python), "-c", program, *arguments]
        return _run(command, timeout)

    def _unpack_packages(self) -> None:
        state, cache = self._folder / "state", self._folder / "packages"
        for folder in (state / "lists/partial", cache / "archives/partial", self._root):
            folder.mkdir(parents=True)
        (state / "status").touch()
        settings = {
            "APT::Architecture": "arm64",
            "APT::Architectures::": "arm64",
            "Dir::State": state,
            "Dir::State::status": state / "status",
            "Dir::Cache": cache,
        }
        apt = ["apt-get", "-qq", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
        _run([*apt, "update"])
        _run([*apt, "--yes", "--download-only", "--no-install-recommends", "install", *_PACKAGES])
        for package in sorted((cache / "archives").glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(self._root)])
        shutil.rmtree(cache)

    def _install_needs(self) -> None:
        project = tomllib.loads((_PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        version = self._python.name.removeprefix("python")
        platforms = [word for platform in _PLATFORMS for word in ("--platform", platform)]
        target = ["--target", str(self._site), "--only-binary=:all:", "--python-version", version, *platforms]
        _run([sys.executable, "-m", "pip", "install", "--quiet", *target, *project["dependencies"]])


def _run(command: list[str], timeout: float = 900) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise UserlandError(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
