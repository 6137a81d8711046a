"""A child process that is asked and answers, one JSON object a line, under a limit on time."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from itertools import count

import dfx.errors
from dfx.errors import DfxError
from dfx.messages import Message, decode, encode

START_SECONDS = 120.0  # a cold disk reads 100 MB of libraries in far less
FOREVER = min(10 * 365 * 86400.0, threading.TIMEOUT_MAX)  # seconds; a wait of centuries overflows the clock
STOP_SECONDS = 1.0  # a killed process that is not gone by then hangs in the system, and is left to it
# For glibc's malloc, mallopt(3). Left alone it moves both bounds as pictures come and go: a decoder's were given back
# to the system after each video and faulted in anew, page by page, and the heap grew for a hundred videos.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),  # the largest that glibc takes: pictures up to 4K come from the heap
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),  # free bytes that a process keeps: the pictures of a 1080p decoder
    "MALLOC_ARENA_MAX": "1",  # a thread's own heap grew by 50 MiB in 120 videos, the one of all by 20
}


class WorkerDied(Exception):
    """The process ended, or was ended, before it answered. expired: this very message had run out of time."""

    def __init__(self, status: int | None, expired: bool = False) -> None:
        super().__init__(f"exit status {status}")
        self.status, self.expired = status, expired


class Process:
    """One process, the pipe to it, and the answers that are waited for, in any number of threads.

    alive: whether it may still answer; command: what is started. Raises DfxError where the system starts no more.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._popen = _spawn(command)
        self._waiting: dict[int, Future[Message]] = {}
        self._lock, self._numbers, self._ended = threading.Lock(), count(), False
        self.alive = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    def greet(self, hello: Message, seconds: float) -> None:
        """Tells it what it is to serve, and waits until it has loaded that.

        Raises what stands in the way of serving, as its own class of `dfx.errors`.
        """
        try:
            answer = self.ask(hello, seconds)
        except WorkerDied as death:
            how = f"was not ready after {seconds:.0f} s" if death.expired else f"ended ({death}) before it could serve"
            raise DfxError(f"a worker {how}; see what it printed above") from None
        if "error" in answer:
            raise getattr(dfx.errors, answer["error"], DfxError)(answer["message"])

    def ask(self, message: Message, seconds: float) -> Message:
        """Sends a message and waits for its answer; raises WorkerDied, having killed the process if time ran out."""
        number, answer = next(self._numbers), Future[Message]()
        with self._lock:
            self._waiting[number] = answer
            if self._ended or not self._write(message | {"id": number}):
                self.kill()
                raise WorkerDied(self._popen.poll())
        try:
            return answer.result(min(seconds, FOREVER))
        except TimeoutError:
            self.kill()
            raise WorkerDied(None, expired=True) from None

    def kill(self) -> None:
        """Ends the process at once, from any thread; what it has in hand is not answered."""
        self.alive = False
        self._popen.kill()

    def bury(self) -> None:
        """Kills it, and gives back what it held here. A process that hangs in the system is left to it."""
        self.kill()
        self._reader.join(STOP_SECONDS)
        if not self._reader.is_alive():
            for pipe in (self._popen.stdin, self._popen.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()

    def _write(self, message: Message) -> bool:
        assert self._popen.stdin
        try:
            self._popen.stdin.write(encode(message))
            self._popen.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def _read(self) -> None:
        assert self._popen.stdout
        try:
            for line in self._popen.stdout:
                answer = decode(line)
                self._waiting.pop(answer.pop("id")).set_result(answer)
        except (OSError, ValueError, KeyError):  # what is no answer; it is not to be trusted any more
            pass
        finally:
            self._end()

    def _end(self) -> None:
        self.kill()
        status = self._popen.wait()
        with self._lock:
            self._ended = True
            for answer in self._waiting.values():
                answer.set_exception(WorkerDied(status))


class Supervised:
    """A process that is started anew where it died. hello: the first message, which says what it is to serve.

    Several threads may ask it at a time.
    """

    def __init__(self, command: Sequence[str], hello: Message) -> None:
        self._command, self._hello = command, hello
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._ready = self._stopped = False

    @property
    def pid(self) -> int | None:
        """The process that serves now; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def serves(self) -> bool:
        """Whether its process runs, and has loaded what it serves."""
        return self._ready and self._process is not None and self._process.alive

    def start(self) -> None:
        """Has the process load its code, while others load theirs; `ensure` then says what it is to serve."""
        with self._lock:
            self._started()

    def ensure(self, seconds: float = START_SECONDS) -> None:
        """Starts the process unless it runs, and waits until it serves. Raises what stands in the way, as `greet`."""
        with self._lock:
            process = self._started()
            if not self._ready:
                process.greet(self._hello, seconds)
                self._ready = True

    def ask(self, message: Message, seconds: float) -> Message:
        """Sends a message and waits for its answer; raises WorkerDied, having killed the process if time ran out."""
        assert self._process, "ensure() comes first"
        return self._process.ask(message, seconds)

    def stop(self) -> None:
        """Ends the process at once, from any thread; what it has in hand is not answered."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Stops, and gives back what the process held here."""
        self.stop()
        if self._process is not None:
            self._process.bury()

    def _started(self) -> Process:
        """The process, started unless it runs."""
        if self._process is not None and self._process.alive:
            return self._process
        if self._process is not None:
            self._process.bury()
        self._process, self._ready = Process(self._command), False
        if self._stopped:
            self._process.kill()
        return self._process


def default_workers() -> int:
    """One a core that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            start_new_session=True,  # a Ctrl-C in the terminal is the parent's to handle
        )
    except OSError as error:  # too many processes or open files, or no memory for another one
        raise DfxError(f"a worker could not be started ({error.strerror}): name fewer workers (--workers)") from error


def environment() -> dict[str, str]:
    """The parent's import path, so that a worker imports what its parent imports, wherever a notebook put it."""
    path = os.pathsep.join(path for path in sys.path if path)
    return MALLOC | os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
