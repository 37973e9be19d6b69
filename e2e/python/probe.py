"""The application of the tests under load and faults. Does what the probe in Rust does for them.

`/sleep/MS` is answered after so many milliseconds, any other path at once. With `PROBE_LEAK=BYTES`
each request leaks as many. `PROBE_JOURNAL` names a file that gets the id of each request that
begins to run. With `PROBE_IMPORT=SECONDS` the import takes as long, as a large one does.
"""

import os
import time

HELLO = b"Hello from a worker of Ostler, sixty-six bytes and no more of it.\n"

leak = int(os.environ.get("PROBE_LEAK", "0"))
leaked = []


def open_journal():
    path = os.environ.get("PROBE_JOURNAL")
    return path and os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


journal = open_journal()


def note(environ):
    """Writes the id of a request. One write a line: it is whole, or not there."""
    if journal is not None:
        os.write(journal, environ["HTTP_X_REQUEST_ID"].encode() + b"\n")


def application(environ, start_response):
    note(environ)
    if leak:
        leaked.append(b"x" * leak)
    _, what, *rest = environ["PATH_INFO"].split("/")
    if what == "sleep":
        time.sleep(int(rest[0]) / 1000)
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [HELLO]


time.sleep(float(os.environ.get("PROBE_IMPORT", "0")))
