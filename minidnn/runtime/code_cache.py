"""Object code on disk, content-addressed, private to its owner, and bounded.

An entry is one file named by the hash of everything that determines its content. It begins with the hash
of its name and of what follows, so a damaged, truncated or renamed entry is noticed and compiled again. Entries
are written to a temporary file and renamed, so a reader sees all of one or nothing. Cached code is executed: a
folder or an entry that anyone else can write to, or that belongs to someone else, is not used.

Using an entry sets its time of modification. When the folder has grown beyond its limit, entries go that were
used longest ago. Any number of processes may do all this at once: an entry that has gone is compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from minidnn import settings

__all__ = ["CodeCache", "default_folder"]

_log = logging.getLogger(__name__)

_DIGEST_BYTES = 32
_ENTRY = re.compile(r"[0-9a-f]{64}\.o")
_TEMPORARY = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}\.tmp")

# Seconds after which a temporary file has no writer any more.
_ABANDONED = 3600.0
# The folder is measured when this part of the limit has been written since the last time, and an eviction leaves
# so much room twice: one process never exceeds the limit, several by this part each.
_STEP = 1 / 16
# Seconds between two notes that an entry is used: when it is to go, no more than the hour matters.
_NOTE_INTERVAL = 60.0


def default_folder() -> Path | None:
    """``MINIDNN_CACHE_DIR``, else ``minidnn`` in the user's cache folder; None where the home it lies in is missing."""
    explicit = settings.CACHE_DIR.value()
    if explicit is not None:
        return None if settings.is_homeless(explicit) else explicit
    if sys.platform == "win32":
        base, below = os.environ.get("LOCALAPPDATA", ""), ("AppData", "Local")
    elif sys.platform == "darwin":
        base, below = "", ("Library", "Caches")
    else:
        base, below = os.environ.get("XDG_CACHE_HOME", ""), (".cache",)
    # The XDG specification: a relative path is invalid and is ignored.
    folder = Path(base) if Path(base).is_absolute() else settings.user_folder(*below)
    return None if folder is None else folder / "minidnn"


class CodeCache:
    """A folder of entries. Where it cannot be had safely, the cache is off: `folder` is None, and `why_off` says why.

    Args:
        folder: made if need be; None: no cache.
        limit: bytes that the entries may take together; 0: no cache.
    """

    def __init__(self, folder: Path | None, limit: int = settings.CACHE_BYTES.default) -> None:
        self.folder, why = _private(folder) if folder is not None and limit > 0 else (None, "")
        self.why_off = "" if self.folder else "no private folder" if limit else f"{settings.CACHE_BYTES.name}=0"
        if why:
            _log.warning("the cache of compiled code is off, and every process compiles for itself: %s", why)
        self.limit = limit
        self._write_failed = False
        self._unmeasured = float(limit)  # bytes written since the folder was measured

    def read(self, key: str) -> bytes | None:
        """The entry of that key (hexadecimal), or None if there is none, or it is damaged or not ours alone."""
        if self.folder is None:
            return None
        path = f"{self.folder}{os.sep}{key}.o"
        try:
            content, status, why = _read_private(path, self.limit)
        except OSError:
            return None
        if why:
            _log.warning("%s: the cache entry is not used, and compiled again: %s", path, why)
            return None
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if _digest(key, payload) != digest:
            _log.warning("%s: an invalid cache entry, damaged or renamed; it is compiled again", path)
            return None
        _note_use(path, status)
        return payload

    def write(self, key: str, payload: bytes) -> None:
        """Store an entry; a full or read-only disk costs the next process its time, not this one its life."""
        if self.folder is None or len(payload) > self.limit // 2:
            return
        temporary = self.folder / f"{key}.{secrets.token_hex(8)}.tmp"
        try:
            try:
                temporary.touch(0o600, exist_ok=False)
                temporary.write_bytes(_digest(key, payload) + payload)
                temporary.replace(self.folder / f"{key}.o")
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            # The first one says it; a full disk would say it for every kernel.
            _log.log(
                logging.DEBUG if self._write_failed else logging.WARNING, "a cache entry was not written: %s", error
            )
            self._write_failed = True
        self._unmeasured += len(payload) + _DIGEST_BYTES
        if self._unmeasured >= self.limit * _STEP:
            self._unmeasured = 0
            self._evict(self.folder)

    def _evict(self, folder: Path) -> None:
        """Remove what was used longest ago, if the entries take more than they may."""
        entries = list(_entries(folder))
        total = sum(size for _, size, _ in entries)
        if total <= self.limit * (1 - _STEP):
            return
        before, removed = total, 0
        for _, size, path in sorted(entries):
            if total <= self.limit * (1 - 2 * _STEP):
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size
                removed += 1
        _log.info(
            "%s: %d cache entries, %d bytes, evicted (%s)", folder, removed, before - total, settings.CACHE_BYTES.name
        )


def _digest(key: str, payload: bytes) -> bytes:
    """What an entry begins with: another one's content under its name is noticed as well."""
    digest = hashlib.sha256(key.encode() + b"\n")
    digest.update(payload)
    return digest.digest()


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each entry was used last, its size and its path. Removes what writers have left that were killed."""
    with contextlib.suppress(OSError), os.scandir(folder) as files:
        for file in files:
            if not _ENTRY.fullmatch(file.name) and not _TEMPORARY.fullmatch(file.name):
                continue
            with contextlib.suppress(OSError):
                status = file.stat(follow_symlinks=False)
                if file.name.endswith(".o"):
                    yield status.st_mtime, status.st_size, Path(file.path)
                elif time.time() - status.st_mtime > _ABANDONED:
                    Path(file.path).unlink(missing_ok=True)


def _note_use(path: str, status: os.stat_result) -> None:
    if abs(time.time() - status.st_mtime) > _NOTE_INTERVAL:
        with contextlib.suppress(OSError):  # a folder that can only be read is never evicted from either
            os.utime(path)


def _not_ours(status: os.stat_result) -> str:
    """Why what has that status is not to be trusted; empty if only its owner, who is us, can write to it."""
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return "it belongs to another user"
    if hasattr(os, "getuid") and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others can write to it"
    return ""


_READING = sum(getattr(os, name, 0) for name in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_CLOEXEC"))


def _read_private(path: str, most: int) -> tuple[bytes, os.stat_result, str]:
    """A file of at most so many bytes, its status, and why it is not to be read: of the very file that is looked at."""
    file = os.open(path, _READING)
    try:
        status = os.fstat(file)
        why = _not_ours(status)
        if not why and not (stat.S_ISREG(status.st_mode) and status.st_size <= most):
            why = "it is no file, or larger than all entries may be"
        # What is shorter than it was, or could not be read in one piece, does not have its hash.
        return (b"" if why else os.read(file, status.st_size)), status, why
    finally:
        os.close(file)


def _private(folder: Path) -> tuple[Path | None, str]:
    """The absolute path of the folder, made if need be, if only its owner, who is us, can write to it; else why not."""
    try:
        folder = folder.absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except (OSError, ValueError) as error:
        return None, f"{folder}: {error}"
    why = _not_ours(status) if stat.S_ISDIR(status.st_mode) else "it is not a folder"
    return (None, f"{folder}: {why}") if why else (folder, "")
