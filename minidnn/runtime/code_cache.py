"""Object code on disk, content-addressed, private to its owner.

An entry is one file named by the hash of everything that determines its content. It begins with the hash
of what follows, so a damaged or truncated entry is noticed and compiled anew. Entries are written to a
temporary file and renamed, so a reader sees all of one or nothing. Cached code is executed: a folder that
anyone else can write to, or that belongs to someone else, is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

__all__ = ["CodeCache", "default_folder"]

_DIGEST_BYTES = 32


def default_folder() -> Path:
    """``MINIDNN_CACHE_DIR``, else ``minidnn`` in the user's cache folder."""
    explicit = os.environ.get("MINIDNN_CACHE_DIR")
    if explicit:
        return Path(explicit)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "minidnn"


class CodeCache:
    """A folder of entries. Where the folder cannot be had safely, the cache is off: `folder` is None."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder if folder is not None and _is_private(folder) else None

    def read(self, key: str) -> bytes | None:
        """The entry of that key (hexadecimal), or None if there is none or it is damaged."""
        if self.folder is None:
            return None
        try:
            content = (self.folder / f"{key}.o").read_bytes()
        except OSError:
            return None
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return payload if hashlib.sha256(payload).digest() == digest else None

    def write(self, key: str, payload: bytes) -> None:
        """Store an entry; a full or read-only disk costs the next process its time, not this one its life."""
        if self.folder is None:
            return
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(payload).digest() + payload)
                Path(name).replace(self.folder / f"{key}.o")
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise


def _is_private(folder: Path) -> bool:
    """Whether the folder is there (made if need be) and only its owner, who is us, can write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
