"""What runs in a worker process of a DataLoader."""

from __future__ import annotations

import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np

import minidnn.random
from minidnn.child_interpreter import child_command, child_environment
from minidnn.engine import set_num_threads
from minidnn.gluon.data import _transport
from minidnn.gluon.data._samples import make_batch

__all__ = ["Failure", "RemoteTraceback", "lower_priority", "main", "start"]


_NICENESS = 10


class RemoteTraceback(Exception):  # noqa: N818 # the name is what is printed above the traceback
    """The traceback of a worker as text, the cause of the exception that the caller sees."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Failure:
    """An exception and its traceback, in a form that certainly reaches the other side."""

    def __init__(self, error: BaseException) -> None:
        self.text = "".join(traceback.format_exception(error))
        self.name = f"{type(error).__name__}: {error}"
        self.notes = list(getattr(error, "__notes__", ()))
        self.error: bytes | None
        try:
            self.error = bytes(ForkingPickler.dumps(error))
            ForkingPickler.loads(self.error)
        except Exception:
            self.error = None

    def exception(self, otherwise: type[Exception]) -> BaseException:
        """The exception; `otherwise` with its name where it cannot be pickled."""
        error: BaseException
        error = otherwise(f"a worker raised {self.name}") if self.error is None else ForkingPickler.loads(self.error)
        if self.notes and not hasattr(error, "__notes__"):
            error.__notes__ = self.notes
        error.__cause__ = RemoteTraceback(self.text)
        return error


def start(folder: str) -> tuple[subprocess.Popen[bytes], Connection]:
    """A new worker process and the pipe to it; `folder` is where its batches are handed over.

    It is a fresh interpreter. Modules of the working folder are found if they are found here.
    """
    ours, theirs = Pipe()
    command = child_command(["-c", f"from {__name__} import main; main()", str(theirs.fileno()), folder])
    environment = child_environment()
    if "" in sys.path:
        environment["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), environment["PYTHONPATH"]])
    try:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def lower_priority() -> None:
    """Let other threads go first on a core: a network that computes should not wait for batches it does not need yet.

    Where it waits for one, the cores are free.
    """
    if sys.platform == "linux":  # elsewhere a thread cannot be told apart from its process
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(os.getpriority(os.PRIO_PROCESS, thread), _NICENESS))


def main() -> None:
    """What the new process does."""
    descriptor, folder = sys.argv[1:]
    run(Connection(int(descriptor)), folder)


def run(connection: Connection, folder: str) -> None:
    """Answer tasks until the other side is gone.

    The first message is the data set and the batchify function. A task is its number, a seed, and the samples'
    indices; the answer is the number and the packed batch, or a `Failure`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked for the batches
    lower_priority()
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"  # the cores are for the other workers
    set_num_threads(1)
    try:
        dataset, batchify = ForkingPickler.loads(connection.recv_bytes())
    except EOFError:
        return
    except Exception as error:
        connection.send((-1, Failure(error)))
        return
    tasks: queue.SimpleQueue[tuple[int, int, list[Any]]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks, folder), daemon=True).start()
    while True:
        number, seed, indices = tasks.get()
        _seed(seed)
        try:
            answer: Any = _transport.pack(make_batch(dataset, batchify, indices), folder)
        except Exception as error:
            answer = Failure(error)
        try:
            connection.send((number, answer))
        except OSError:
            os._exit(0)
        except Exception as error:  # the batch cannot be pickled
            connection.send((number, Failure(error)))


def _receive(connection: Connection, tasks: queue.SimpleQueue[Any], folder: str) -> None:
    """Take tasks out of the pipe as they come: the sender must never wait for a worker that waits for it."""
    try:
        while True:
            tasks.put(connection.recv())
    except (EOFError, OSError):
        # The loader is gone, maybe killed: nobody else would clean up. Other workers do so at the same time, and some
        # may still be writing a batch.
        for _ in range(100):
            shutil.rmtree(folder, ignore_errors=True)
            if not Path(folder).exists():
                break
            time.sleep(0.01)
        os._exit(0)


def _seed(seed: int) -> None:
    """Random transforms draw the same whatever worker a batch comes to."""
    minidnn.random.seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
