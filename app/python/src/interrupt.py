"""Raises an exception in a thread whose request has been stuck for long."""

import sys
import threading
import time

from ostler_python import RequestTimeout

#: How often one looks, at least and at most, in seconds.
SHORTEST, LONGEST = 0.05, 1.0


def start(worker, timeout):
    """Interrupts, from a thread of its own, what stays stuck for so many seconds."""
    threading.Thread(
        target=watch, args=(worker, timeout), name="ostler-interrupt", daemon=True
    ).start()


def watch(worker, timeout):
    """The life of that thread."""
    pause = min(max(timeout / 4, SHORTEST), LONGEST)
    since = {}
    while True:
        time.sleep(pause)
        now = time.monotonic()
        stuck = worker.stuck()
        since = {one: since.get(one, now) for one in stuck}
        for one, seen in since.items():
            if timeout <= now - seen:
                _, tid, turn = one
                if worker.interrupt(tid, turn, send):
                    sys.stderr.write(f"interrupted the thread {tid}, whose request is stuck\n")
                # Once more after as long, if it stays.
                since[one] = now


def send(ident):
    """Has `RequestTimeout` raised in a thread, when it next runs Python."""
    _set(ident, RequestTimeout)


def forget(ident):
    """Takes back what was sent to a thread and was not raised."""
    _set(ident, None)


def _set(ident, exception):
    # Not before it is needed: few are.
    import ctypes

    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    object_or_null = ctypes.c_void_p(None) if exception is None else ctypes.py_object(exception)
    set_exception(ctypes.c_ulong(ident), object_or_null)
