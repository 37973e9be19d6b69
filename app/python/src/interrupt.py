"""Raises an exception in a thread whose request has been stuck for long."""

import sys
import threading
import time

from ostler_python import RequestTimeout

#: How often one looks, at least and at most, in seconds.
SHORTEST, LONGEST = 0.05, 1.0


def functions():
    """How an exception is sent to a thread, and how it is taken back: `send(ident, exception)`,
    `forget(ident, None)`. Both are functions in C, during which no other thread runs Python.
    """
    # Not before it is needed: few pools interrupt.
    import ctypes

    def prototype(exception):
        kind = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, exception)
        return kind(("PyThreadState_SetAsyncExc", ctypes.pythonapi))

    return prototype(ctypes.py_object), prototype(ctypes.c_void_p)


def start(worker, timeout, send):
    """Interrupts, from a thread of its own, what stays stuck for so many seconds."""
    threading.Thread(
        target=watch, args=(worker, timeout, send), name="ostler-interrupt", daemon=True
    ).start()


def watch(worker, timeout, send):
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
                if worker.interrupt(tid, turn, send, RequestTimeout):
                    sys.stderr.write(f"interrupted the thread {tid}, whose request is stuck\n")
                # Once more after as long, if it stays.
                since[one] = now
