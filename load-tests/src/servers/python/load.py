"""The application of load-worker in Python, for every server that runs WSGI."""

import time
from pathlib import Path

HELLO = b"Hello from a worker of Ostler, sixty-six bytes and no more of it.\n"
FILE = Path(__file__).with_name("static") / "0.bin"
PIECE_BYTES = 65536


def application(environ, start_response):
    path = environ["PATH_INFO"]
    fields = [("Content-Type", "text/plain; charset=utf-8")]
    body = HELLO
    if environ["REQUEST_METHOD"] == "POST":
        length = 0
        while piece := environ["wsgi.input"].read(PIECE_BYTES):
            length += len(piece)
        body = b"%d\n" % length
    elif path == "/file":
        return file(environ, start_response, fields)
    elif path.startswith("/bytes/"):
        body = b"0" * int(path[7:])
    elif path.startswith("/block/"):
        start = time.monotonic()
        time.sleep(int(path[7:]) / 1e6)
        fields.append(("X-Service-Us", str(int((time.monotonic() - start) * 1e6))))
    fields.append(("Content-Length", str(len(body))))
    start_response("200 OK", fields)
    return [body]


def file(environ, start_response, fields):
    fields.append(("Content-Length", str(FILE.stat().st_size)))
    start_response("200 OK", fields)
    # A server that has no wrapper is given pieces to send.
    wrapper = environ.get("wsgi.file_wrapper", pieces)
    return wrapper(FILE.open("rb"), PIECE_BYTES)


def pieces(opened, size):
    with opened:
        while piece := opened.read(size):
            yield piece
