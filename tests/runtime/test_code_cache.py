"""The code cache: what is written is read, what is damaged or not ours is not, and nothing is half written."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import environment, python

from minidnn.runtime.code_cache import CodeCache, default_folder
from minidnn.runtime.library import Library
from minidnn_kernels.isa import Isa, best_isa, get_isa
from minidnn_kernels.loader import Loader
from minidnn_kernels.pooling import PoolSpec

KEY = "0" * 64
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    return CodeCache(tmp_path / "cache")


def _entry(cache: CodeCache, key: str = KEY) -> Path:
    assert cache.folder is not None
    return cache.folder / f"{key}.o"


def test_what_is_written_is_read(cache: CodeCache) -> None:
    assert cache.read(KEY) is None
    cache.write(KEY, b"code")
    assert cache.read(KEY) == b"code"
    assert cache.read("1" * 64) is None


@pytest.mark.parametrize("keep", [0, 1, 31, 32, 33, 40])
def test_a_truncated_entry_is_no_entry(cache: CodeCache, keep: int) -> None:
    cache.write(KEY, b"some object code")
    whole = _entry(cache).read_bytes()
    assert len(whole) > keep
    _entry(cache).write_bytes(whole[:keep])
    assert cache.read(KEY) is None


@pytest.mark.parametrize("position", [0, 31, 32, -1])
def test_a_changed_byte_is_noticed(cache: CodeCache, position: int) -> None:
    cache.write(KEY, b"some object code")
    content = bytearray(_entry(cache).read_bytes())
    content[position] ^= 1
    _entry(cache).write_bytes(content)
    assert cache.read(KEY) is None


def test_an_entry_under_the_name_of_another_is_noticed(cache: CodeCache) -> None:
    cache.write("1" * 64, b"other object code")
    shutil.copyfile(_entry(cache, "1" * 64), _entry(cache))
    assert cache.read(KEY) is None


def test_a_damaged_entry_is_replaced(cache: CodeCache) -> None:
    cache.write(KEY, b"old")
    _entry(cache).write_bytes(b"rubbish")
    cache.write(KEY, b"new")
    assert cache.read(KEY) == b"new"


def test_nothing_but_entries_stays_behind(cache: CodeCache) -> None:
    for i in range(5):
        cache.write(f"{i:064x}", b"code")
    assert cache.folder is not None
    assert sorted(p.name for p in cache.folder.iterdir()) == [f"{i:064x}.o" for i in range(5)]


def test_a_reader_never_sees_half_an_entry(cache: CodeCache) -> None:
    payloads = {bytes([i]) * 200_000 for i in range(4)}
    cache.write(KEY, next(iter(payloads)))
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for payload in payloads:
                cache.write(KEY, payload)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(300):
            # Not the cache's own reading: that would hide a half-written entry by its hash.
            content = _entry(cache).read_bytes()
            assert content[32:] in payloads
            assert hashlib.sha256(KEY.encode() + b"\n" + content[32:]).digest() == content[:32]
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_a_failed_write_leaves_the_old_entry_and_no_debris(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write(KEY, b"old")

    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    cache.write(KEY, b"new")
    monkeypatch.undo()
    assert cache.read(KEY) == b"old"
    assert [p.name for p in _entry(cache).parent.iterdir()] == [f"{KEY}.o"]


# --- whose folder it is ---------------------------------------------------------------------------


@posix
def test_a_new_folder_is_private(tmp_path: Path) -> None:
    folder = CodeCache(tmp_path / "some" / "new" / "folder").folder
    assert folder is not None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    cache = CodeCache(tmp_path)
    assert cache.folder is None
    cache.write(KEY, b"code")
    assert cache.read(KEY) is None
    assert not list(tmp_path.iterdir())


@posix
@pytest.mark.parametrize("mode", [0o755, 0o750, 0o700])
def test_a_folder_that_others_can_only_read_is_used(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    assert CodeCache(tmp_path).folder == tmp_path


@posix
def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    somebody_else = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody_else)
    assert CodeCache(tmp_path).folder is None


@posix
@pytest.mark.parametrize("mode", [0o660, 0o606, 0o666])
def test_an_entry_that_others_can_write_to_is_not_used(cache: CodeCache, mode: int) -> None:
    cache.write(KEY, b"code")
    _entry(cache).chmod(mode)
    assert cache.read(KEY) is None
    cache.write(KEY, b"code")
    assert cache.read(KEY) == b"code", "and is replaced"
    assert stat.S_IMODE(_entry(cache).stat().st_mode) == 0o600


@posix
def test_an_entry_of_somebody_else_is_not_used(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write(KEY, b"code")
    somebody_else = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody_else)
    assert cache.read(KEY) is None
    monkeypatch.undo()
    assert cache.read(KEY) == b"code"


@posix
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "huge"])
def test_what_is_no_entry_is_not_read(cache: CodeCache, tmp_path: Path, kind: str) -> None:
    cache.write("1" * 64, b"code")
    entry = _entry(cache)
    if kind == "link":
        entry.symlink_to(_entry(cache, "1" * 64))
    elif kind == "pipe":
        os.mkfifo(entry, 0o600)
    elif kind == "folder":
        entry.mkdir(0o700)
    else:
        entry.touch(0o600)
        os.truncate(entry, cache.limit + 1)
    assert cache.read(KEY) is None


@posix
def test_a_link_to_a_folder_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert CodeCache(tmp_path / "link").folder is None


def test_a_file_in_the_way_turns_the_cache_off(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert CodeCache(tmp_path / "file").folder is None
    assert CodeCache(tmp_path / "file" / "below").folder is None


def test_the_folder_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDNN_CACHE_DIR", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here"
    monkeypatch.delenv("MINIDNN_CACHE_DIR")
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert default_folder() == tmp_path / "minidnn"


# --- what is kept in it ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """A pool that counts how often it is generated."""

    operation: str = "max"

    @property
    def name(self) -> str:
        return PoolSpec(self.operation).name

    def emit(self, isa: Isa) -> str:
        generated.append(self)
        return PoolSpec(self.operation).emit(isa)


generated: list[Pool] = []


@pytest.fixture(autouse=True)
def _forget_generated() -> None:
    generated.clear()


def test_a_kernel_is_generated_once_and_then_loaded(cache: CodeCache) -> None:
    first = Library(best_isa(), cache)
    assert first.microkernel(Pool()) == first.microkernel(Pool())
    second = Library(best_isa(), cache)
    assert second.microkernel(Pool())
    assert len(generated) == 1
    assert (first.compiled, second.compiled) == (1, 0)


def test_a_damaged_kernel_is_compiled_anew(cache: CodeCache) -> None:
    Library(best_isa(), cache).microkernel(Pool())
    assert cache.folder is not None
    (entry,) = cache.folder.iterdir()
    content = entry.read_bytes()
    entry.write_bytes(content[:-100])
    again = Library(best_isa(), cache)
    again.microkernel(Pool())
    assert again.compiled == 1
    assert entry.read_bytes() == content, "and stored again"


class Unused(Loader):
    """Loads nothing: code of other machines is compiled here, and does not run."""

    def load(self, object_code: bytes, symbol: str) -> int:
        return id(self)


def test_entries_are_named_by_all_that_determines_them(cache: CodeCache) -> None:
    for isa in (get_isa("sse"), get_isa("avx2"), get_isa("neon")):
        for spec in (PoolSpec("max"), PoolSpec("sum")):
            Library(isa, cache, Unused()).microkernel(spec)
    assert cache.folder is not None
    entries = [p.read_bytes() for p in cache.folder.iterdir()]
    assert len(entries) == len(set(entries)) == 6


def test_what_is_in_the_cache_is_read_once_and_the_rest_is_compiled(
    cache: CodeCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [PoolSpec("max"), PoolSpec("sum"), Pool()]
    Library(best_isa(), cache).prepare([], specs[:2])
    assert cache.folder is not None
    damaged = sorted(cache.folder.iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    read: list[str] = []
    true_read = cache.read
    monkeypatch.setattr(cache, "read", lambda key: read.append(key) or true_read(key))
    again = Library(best_isa(), cache)
    assert again.prepare([], specs) == (2, 1, 0)
    assert len(read) == len({*read}) == 3
    assert caplog.text.count("invalid cache entry") == 1
    assert again.prepare([], specs) == (0, 0, 3)
    assert len({again.microkernel(spec) for spec in specs}) == len(read) == 3


def test_without_a_folder_everything_is_compiled() -> None:
    off = CodeCache(None)
    for _ in range(2):
        Library(best_isa(), off).microkernel(Pool())
    assert len(generated) == 2


def test_many_threads_ask_for_one_kernel(cache: CodeCache) -> None:
    library = Library(best_isa(), cache)
    addresses: list[int] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        addresses.append(library.microkernel(Pool()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(addresses)) == 1
    assert len(generated) == 1
    assert library.name_of(addresses[0]) == "f32_pool_max"


# --- how large it may grow ------------------------------------------------------------------------


def _key(number: int) -> str:
    return f"{number:064x}"


def _bytes_in(cache: CodeCache) -> int:
    assert cache.folder is not None
    return sum(path.stat().st_size for path in cache.folder.iterdir())


def _set_last_use(cache: CodeCache, number: int, seconds_ago: float) -> None:
    used = time.time() - seconds_ago
    os.utime(_entry(cache, _key(number)), (used, used))


@pytest.mark.parametrize("size", [100, 1000, 4000])
def test_the_folder_stays_within_its_limit(tmp_path: Path, size: int) -> None:
    limit = 20_000
    cache = CodeCache(tmp_path / "cache", limit)
    for number in range(500):
        cache.write(_key(number), bytes(size))
        assert _bytes_in(cache) <= limit + size + 32, "beside the entry that makes room for itself"
        assert cache.read(_key(number)) == bytes(size), "the newest is kept"
    assert _bytes_in(cache) <= limit
    assert _bytes_in(cache) >= limit // 2, "and is used"


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "cache", 10_000)
    for number in range(8):
        cache.write(_key(number), bytes(1000))
        _set_last_use(cache, number, 1000 - number)
    assert cache.read(_key(0)) is not None  # which is a use
    for number in range(8, 12):
        cache.write(_key(number), bytes(1000))
    assert cache.read(_key(0)) is not None
    assert cache.read(_key(1)) is None
    assert cache.read(_key(11)) is not None


def test_an_entry_that_would_fill_the_folder_is_not_stored(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "cache", 1000)
    cache.write(KEY, bytes(100))
    cache.write("1" * 64, bytes(900))
    assert cache.read(KEY) == bytes(100)
    assert cache.read("1" * 64) is None


def test_a_limit_of_zero_switches_it_off(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "cache", 0)
    cache.write(KEY, b"code")
    assert cache.folder is None
    assert cache.read(KEY) is None
    assert not (tmp_path / "cache").exists()


def test_files_that_are_not_entries_stay_and_abandoned_ones_go(tmp_path: Path) -> None:
    cache = CodeCache(tmp_path / "cache", 2000)
    assert cache.folder is not None
    abandoned, writing = (cache.folder / f"{KEY}.{digit * 16}.tmp" for digit in "01")
    others = [cache.folder / "notes.txt", cache.folder / "x.o"]
    for path in (abandoned, writing, *others):
        path.write_bytes(bytes(3000))
        os.utime(path, (0, 0))
    os.utime(writing)
    cache.write(KEY, bytes(500))
    assert not abandoned.exists()
    assert writing.exists()
    assert all(path.exists() for path in others)
    assert cache.read(KEY) is not None


def test_several_processes_share_a_small_folder(tmp_path: Path) -> None:
    limit = 60_000
    program = f"""
import sys
from pathlib import Path
from minidnn.runtime.code_cache import CodeCache
cache = CodeCache(Path({str(tmp_path / "cache")!r}), {limit})
for number in range(400):
    key = f"{{number % 97:064x}}"
    found = cache.read(key)
    assert found is None or found == bytes([number % 97]) * 1500
    cache.write(key, bytes([number % 97]) * 1500)
"""
    command = [sys.executable, "-W", "error", "-c", program]
    processes = [subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    cache = CodeCache(tmp_path / "cache", limit)
    assert _bytes_in(cache) <= limit * 1.25, "a sixteenth of the limit for each process"
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".o"]


def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    program = """
import minidnn as mx
from minidnn import engine
for n in range(1, 4):
    mx.np.ones((n, 3)) * 2
print(engine.info()["cache_limit_bytes"])
"""
    folder = tmp_path / "cache"
    done = python(program, MINIDNN_CACHE_DIR=str(folder), MINIDNN_CACHE_BYTES="40K")
    assert done.stdout == "40960\n", done.stderr
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 40960


@posix
@pytest.mark.parametrize("trouble", ["read-only", "no room", "gone"])
def test_a_folder_in_trouble_costs_nothing_but_time(
    trouble: str, cache: CodeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write(KEY, b"code")
    assert cache.folder is not None

    def refuse(*_: object, **__: object) -> None:
        raise OSError({"read-only": errno.EROFS, "no room": errno.ENOSPC}[trouble], trouble)

    if trouble == "gone":
        shutil.rmtree(cache.folder)
    else:  # root may write everywhere, so the system's answer is put into its mouth
        monkeypatch.setattr(Path, "touch" if trouble == "read-only" else "write_bytes", refuse)
        monkeypatch.setattr(os, "utime", refuse)
    cache.write("1" * 64, b"other")
    assert cache.read("1" * 64) is None
    assert cache.read(KEY) == (None if trouble == "gone" else b"code")
    assert Library(best_isa(), cache).microkernel(Pool())
    monkeypatch.undo()
    if cache.folder.exists():
        assert [path.name for path in cache.folder.iterdir()] == [f"{KEY}.o"]
