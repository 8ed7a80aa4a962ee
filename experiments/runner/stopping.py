"""Signals: acknowledged at once, whatever the process does; a second one ends it at once.

Ctrl-C (SIGINT), SIGTERM, SIGHUP of a terminal that is closed, and SIGUSR1 and SIGXCPU, by which batch systems tell that
the time is nearly over. What the main thread does not leave within ``GRACE_S``, as a long compilation, is abandoned.

Python runs its signal handlers between instructions of the main thread, which a compilation can hold for minutes. The C
handler below them writes each signal to a socket at once, and a thread waits at its other end.
"""

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from experiments.runner.setbacks import STOPPED

__all__ = ["ENDED_AT_ONCE", "SHOW_CURSOR", "SIGNALS", "Stop", "listening"]

ENDED_AT_ONCE = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)
# Of the ten seconds that many systems leave a process before they kill it.
GRACE_S = 8.0
DOUBLED_S = 2.0
AFTER_CHECKPOINT = b"stopping after a checkpoint; a second signal (Ctrl-C) ends the run at once\n"
AS_IT_IS = b"stopping; the same command resumes the run\n"
ABANDONED = b"stopped; what was not finished within seconds is done again when the same command resumes the run\n"
ENDED = b"ended at once; the same command resumes from the last checkpoint\n"
SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides it


class Stop:
    """What the signals ask for: an interrupt of the main thread, or a stop after a checkpoint where there are steps."""

    def __init__(self, doubled: bool = False) -> None:
        self._doubled, self._first = doubled, 0.0
        self._acknowledged = self._noted = self._in_steps = self._imported = False
        self._over = threading.Event()
        self._waiting = threading.Thread(target=self._abandon, daemon=True)
        self.interrupted = False
        # What saves finished work, from any thread, where the main one does not come to it.
        self.rescue: Callable[[], None] = lambda: None

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self._acknowledged or self._noted

    def imported(self) -> None:
        """From now on the main thread is interrupted; before, the process ends: NumPy's import may crash on it."""
        self._imported = True

    @contextmanager
    def in_steps(self) -> Iterator[None]:
        """In this block the main thread checks ``asked`` after every step, and is not interrupted."""
        self._in_steps = True
        try:
            yield
        finally:
            self._in_steps = False

    def check(self) -> None:
        """Interrupt the main thread if a signal came while it was not to be interrupted."""
        if self.asked:
            self.interrupted = True
            raise KeyboardInterrupt

    def note(self, _number: int, frame: FrameType | None) -> None:
        """What Python runs in the main thread at a signal."""
        first, self._noted = not self._noted, True
        # Out of a callback of the garbage collector, as JAX has one, no exception comes; the next check raises it.
        collecting = frame and frame.f_code in [getattr(callback, "__code__", None) for callback in gc.callbacks]
        if first and self._imported and not self._in_steps and not collecting:
            self.check()

    def acknowledge(self, number: int) -> None:
        """Say what the first signal does, from any thread; end the process at the second one."""
        if self._acknowledged:
            # Of this one the kernel sends another every second: nobody asked twice.
            if number == signal.SIGXCPU or (self._doubled and time.monotonic() - self._first < DOUBLED_S):
                return
            _write(2, ENDED)
            _write(1, SHOW_CURSOR, only_terminal=True)
            os._exit(ENDED_AT_ONCE)
        self._acknowledged, self._first = True, time.monotonic()
        _write(2, b"\n", only_terminal=True)  # below the progress bar
        _write(2, AFTER_CHECKPOINT if self._in_steps else AS_IT_IS)
        if not self._imported:  # nothing is begun that could be lost
            os._exit(STOPPED)
        self._waiting.start()

    def end(self) -> None:
        """The main thread has left its work: nothing is abandoned any more, and what is being saved is saved whole.

        A thread that is still within a library when Python ends may abort the process.
        """
        self._over.set()
        if self._waiting.ident is not None:
            self._waiting.join()

    def _abandon(self) -> None:
        if self._over.wait(GRACE_S):
            return
        try:
            self.rescue()
        except Exception as error:  # whatever it was, an earlier checkpoint is whole
            _write(2, f"{' '.join(str(error).split())}\n".encode())
        if not self._over.is_set():
            _write(2, ABANDONED)
            _write(1, SHOW_CURSOR, only_terminal=True)
            os._exit(STOPPED)


@contextmanager
def listening(*, doubled: bool = False) -> Iterator[Stop]:
    """Handle signals while this lasts; in another thread than the main one Python allows no handlers.

    ``doubled`` tells that a signal may come twice: to this process, and handed on by its supervisor.
    """
    stop = Stop(doubled)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    listener = threading.Thread(target=_listen, args=(receiver, stop), daemon=True)
    listener.start()
    wakeup = signal.set_wakeup_fd(sender.fileno())
    # `nohup` has a closed terminal ignored.
    heard = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop.note) for number in heard}
    try:
        yield stop
    finally:
        stop.end()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        sender.close()
        listener.join()  # what it has to say comes before the process ends


def _listen(receiver: socket.socket, stop: Stop) -> None:
    with receiver:
        while received := receiver.recv(1):
            if received[0] in SIGNALS:  # others that Python handles come here too
                stop.acknowledge(received[0])


def _write(descriptor: int, text: bytes, *, only_terminal: bool = False) -> None:
    # Past sys.stderr, whose lock the main thread may hold; a pipe that nobody reads any more is no reason to go on.
    with suppress(OSError):
        if not only_terminal or os.isatty(descriptor):
            os.write(descriptor, text)
