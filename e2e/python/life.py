"""An application that does to its process what real ones do: forks, threads, signals, crashes."""

import atexit
import ctypes
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

TEXT = [("Content-Type", "text/plain")]

folder = os.environ.get("SUBJECT_FOLDER", ".")
local = threading.local()
stopping = threading.Event()


def note(name):
    """Leaves a line in a file for the test to find."""
    with open(os.path.join(folder, name), "a") as file:
        file.write(f"{os.getpid()}\n")


def forever():
    """What a thread does that nobody ends."""
    while not stopping.wait(0.05):
        pass


def told(start_response, text):
    start_response("200 OK", TEXT)
    return [str(text).encode()]


def thread(environ, start_response):
    """Says which thread this is, and how many requests it has had."""
    local.count = getattr(local, "count", 0) + 1
    here = threading.current_thread()
    # As long as the test asks for, so that other threads take part.
    time.sleep(int(environ["QUERY_STRING"] or 0) / 1000)
    mine = {"ident": here.ident, "name": here.name, "count": local.count, "pid": os.getpid(),
            "native": here.native_id}
    return told(start_response, json.dumps(mine))


def hold(environ, start_response):
    time.sleep(int(environ["QUERY_STRING"]) / 1000)
    return told(start_response, "held")


def ended(start_response, child):
    """Says how a child ended."""
    _, status = os.waitpid(child, 0)
    return told(start_response, os.waitstatus_to_exitcode(status))


def fork(environ, start_response):
    """A child that ends at once, as forking servers and daemons have them."""
    child = os.fork()
    if child == 0:
        os._exit(7)
    return ended(start_response, child)


def fork_and_exit(environ, start_response):
    """A child that ends as a program does, with all that Python does at its end."""
    child = os.fork()
    if child == 0:
        sys.exit(9)
    return ended(start_response, child)


def fork_and_end(environ, start_response):
    """A child that somebody else ends, by the usual signal."""
    child = os.fork()
    if child == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    return ended(start_response, child)


def square(number):
    return number * number


def processes(environ, start_response):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return told(start_response, sum(pool.map(square, range(100))))


def command(environ, start_response):
    done = subprocess.run(["sh", "-c", "echo $((6 * 7))"], stdout=subprocess.PIPE, check=True)
    return told(start_response, int(done.stdout))


def crash(environ, start_response):
    ctypes.string_at(0)


def stuck(environ, start_response):
    """Never comes back, unless an exception is raised in it."""
    try:
        while True:
            time.sleep(0.01)
    finally:
        note("interrupted")


def say(environ, start_response):
    print("printed by the application")
    print("printed to standard error", file=sys.stderr)
    environ["wsgi.errors"].write("written to wsgi.errors\n")
    logging.getLogger("site").warning("logged by the application")
    return told(start_response, environ["QUERY_STRING"])


computing = threading.Event()
released = threading.Event()
meeting = threading.Barrier(3)


def compute(environ, start_response):
    """Holds the interpreter lock as long as others let it, until it is released."""
    computing.set()
    while not released.is_set():
        sum(range(1000))
    return told(start_response, "computed")


def is_computing(environ, start_response):
    return told(start_response, computing.is_set())


def release(environ, start_response):
    released.set()
    return told(start_response, "released")


def meet(environ, start_response):
    """Waits until three threads are here at one time."""
    meeting.wait(timeout=20)
    return told(start_response, "met")


PATHS = {
    "/compute": compute,
    "/is-computing": is_computing,
    "/release": release,
    "/meet": meet,
    "/thread": thread,
    "/hold": hold,
    "/fork": fork,
    "/fork-and-exit": fork_and_exit,
    "/fork-and-end": fork_and_end,
    "/processes": processes,
    "/command": command,
    "/crash": crash,
    "/stuck": stuck,
    "/say": say,
}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    return PATHS[path](environ, start_response) if path in PATHS else told(start_response, path)


def set_up():
    """What the environment asks for, before the application is ready."""
    atexit.register(note, "ended")
    if "REPLACE_TERM" in os.environ:
        signal.signal(signal.SIGTERM, lambda number, frame: note("terminated"))
    if "LEAVE_THREAD" in os.environ:
        threading.Thread(target=forever, name="left alone").start()
    note("importing")
    print("said while it was imported")
    gate = os.environ.get("GATE")
    while gate and not os.path.exists(gate):
        time.sleep(0.01)


set_up()
