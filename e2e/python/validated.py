"""Every part of PEP 3333 in use, watched by the validator of the standard library."""

import json
import sys
import warnings
from wsgiref.validate import WSGIWarning, validator

warnings.simplefilter("error", WSGIWarning)

TEXT = [("Content-Type", "text/plain")]


class Pieces:
    """A body that is an iterable, with a `close`, and neither a list nor a generator."""

    def __init__(self, pieces, errors):
        self.pieces = pieces
        self.errors = errors

    def __iter__(self):
        return iter(self.pieces)

    def close(self):
        self.errors.write("the pieces are closed\n")


def pieces_of(read):
    """What `read` gives, until it gives nothing."""
    return list(iter(read, b""))


def read_input(method, size, stream):
    """Reads the body of the request in one of the ways that PEP 3333 names."""
    if method == "read":
        return pieces_of(lambda: stream.read(size))
    if method == "readline":
        return pieces_of(stream.readline if size is None else lambda: stream.readline(size))
    if method == "readlines":
        return stream.readlines() if size is None else stream.readlines(size)
    if method == "mixed":
        return [stream.read(2), stream.readline(), stream.read(1), *stream.readlines()]
    return list(stream)


def input_(environ, start_response, method="iterate", size=None):
    stream = environ["wsgi.input"]
    pieces = read_input(method, None if size is None else int(size), stream)
    rest = stream.read(10) + stream.readline() + b"".join(stream.readlines())
    told = {"pieces": [piece.decode("latin-1") for piece in pieces], "rest": len(rest)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    stream.write("written to the errors\n")
    stream.writelines(["the first of two lines\n", "the second of two lines\n"])
    stream.write("a line in ")
    stream.write("two parts\n")
    stream.flush()
    start_response("200 OK", TEXT)
    return [b"told"]


def write(environ, start_response):
    write = start_response("200 OK", TEXT)
    write(b"one ")
    write(b"")
    write(b"two ")
    return [b"three"]


def exc_info(environ, start_response, when):
    start_response("200 OK", TEXT)
    if when == "after":
        yield b"x" * 10
    try:
        raise ValueError("the reason to begin anew")
    except ValueError:
        start_response("500 Anew", [*TEXT, ("X-Anew", "yes")], sys.exc_info())
    yield b"begun anew"


def generator(environ, start_response):
    try:
        start_response("200 OK", TEXT)
        yield b"one "
        yield b""
        yield b"two"
    finally:
        environ["wsgi.errors"].write("the generator is closed\n")


def body(environ, start_response, kind):
    start_response("200 OK", TEXT)
    return {
        "list": [b"one ", b"two"],
        "tuple": (b"one ", b"two"),
        "object": Pieces([b"one ", b"", b"two"], environ["wsgi.errors"]),
        "map": map(str.encode, ["one ", "two"]),
        "none": [],
        "nothing": [b"", b""],
        "many": [b"%d " % number for number in range(2000)],
        "large": [bytes([65 + number]) * 100_000 for number in range(26)],
    }[kind]


def status(environ, start_response, code):
    start_response(f"{code} Told", [("ETag", '"1"')] + TEXT * (code not in ("204", "304")))
    return []


def length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "7")])
    return [b"one ", b"two"]


PARTS = {
    "input": input_,
    "errors": errors,
    "write": write,
    "exc-info": exc_info,
    "generator": generator,
    "body": body,
    "status": status,
    "length": length,
}


def route(environ, start_response):
    name, *arguments = environ["PATH_INFO"].strip("/").split("/")
    return PARTS[name](environ, start_response, *arguments)


application = validator(route)
