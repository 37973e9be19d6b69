"""Answers in every way that a server must handle, the wrong ones included."""

import io
import os
import threading

TEXT = [("Content-Type", "text/plain")]

#: How often the body of the request with this query was closed.
closed = {}

go_on = threading.Event()


class Body:
    """Pieces that count how often they are closed, and may fail."""

    def __init__(self, environ, pieces, error=None):
        self.pieces = iter(pieces)
        self.query = environ["QUERY_STRING"]
        self.error = error

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self.pieces)
        except StopIteration:
            if self.error:
                raise self.error from None
            raise

    def close(self):
        closed[self.query] = closed.get(self.query, 0) + 1


class OnlyRead:
    """A file that is not one of the system: it has `read` and nothing else."""

    def __init__(self, data):
        self.read = io.BytesIO(data).read


class Swapped:
    """A file that is one of the system, but whose bytes are not what is read."""

    def __init__(self, file):
        self.file = file
        self.close = file.close

    def read(self, size=-1):
        return self.file.read(size).swapcase()


def told(text):
    return lambda environ, start_response: (start_response("200 OK", TEXT), [text])[1]


def begun(status="200 OK", fields=(), pieces=(b"never to be seen",)):
    """An application that begins its answer so, whatever it is worth."""
    def application(environ, start_response):
        start_response(status, list(fields) if isinstance(fields, tuple) else fields)
        return Body(environ, pieces)

    return application


def silent(environ, start_response):
    return Body(environ, [b"never to be seen"])


def nothing(environ, start_response):
    start_response("200 OK", TEXT)


def twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b"never to be seen"]


def raises(environ, start_response):
    raise LookupError("raised by the application")


def raises_at_once(environ, start_response):
    start_response("200 OK", TEXT)
    return Body(environ, [], LookupError("raised before the first piece"))


def raises_later(environ, start_response):
    start_response("200 OK", TEXT)
    return Body(environ, [b"a first piece"], LookupError("raised after the first piece"))


def in_steps(environ, start_response):
    start_response("200 OK", TEXT)
    go_on.clear()

    def pieces():
        yield b"the first"
        go_on.wait(20)
        yield b", the second"

    return Body(environ, pieces())


def step(environ, start_response):
    go_on.set()
    return told(b"set")(environ, start_response)


def endless(environ, start_response):
    start_response("200 OK", TEXT)
    return Body(environ, iter(lambda: b"x" * 10_000, None))


def count(environ, start_response):
    return told(b"%d" % closed.get(environ["QUERY_STRING"], 0))(environ, start_response)


def file_of(environ, start_response, offset=0, length=None, size=None):
    file = open(os.environ["SUBJECT_FILE"], "rb")  # noqa: SIM115, the server closes it
    file.seek(offset)
    fields = [] if length is None else [("Content-Length", str(length))]
    start_response("200 OK", TEXT + fields)
    wrapper = environ["wsgi.file_wrapper"]
    return wrapper(file) if size is None else wrapper(file, size)


def file_in_memory(environ, start_response):
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](OnlyRead(b"0123456789" * 10_000), 4096)


def file_swapped(environ, start_response):
    start_response("200 OK", TEXT)
    file = open(__file__, "rb")  # noqa: SIM115, the server closes it
    return environ["wsgi.file_wrapper"](Swapped(file))


def too_many_fields(environ, start_response):
    start_response("200 OK", [("X-Many", str(number)) for number in range(40_000)])
    return [b"never to be seen"]


def short_without_end(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return Body(environ, iter(lambda: b"01234", None))


def late(environ, start_response):
    """Begins its answer when its first piece is asked for, as generators do."""
    start_response("200 OK", TEXT)
    yield b"late"


PATHS = {
    "/status/number": begun(status=200),
    "/status/no-reason": begun(status="200"),
    "/status/words": begun(status="OK 200"),
    "/status/interim": begun(status="103 Early Hints"),
    "/status/newline": begun(status="200 OK\r\nX-Smuggled: yes"),
    "/fields/none": begun(fields=None),
    "/fields/number": begun(fields=(("X-Number", 1),)),
    "/fields/bytes": begun(fields=((b"X-Bytes", b"1"),)),
    "/fields/newline": begun(fields=(("X-Line", "a\r\nX-Smuggled: yes"),)),
    "/fields/name": begun(fields=(("X Space", "a"),)),
    "/fields/beyond": begun(fields=(("X-Beyond", "\u20ac"),)),
    "/fields/length": begun(fields=(("Content-Length", "many"),)),
    "/fields/latin": begun(fields=(("X-Latin", "\u00e9"), ("X-Same", "1"), ("X-Same", "2"))),
    "/fields/hop": begun(fields=(("Connection", "close"),)),
    "/fields/coding": begun(fields=(("Transfer-Encoding", "chunked"),)),
    "/piece/text": begun(pieces=["text"]),
    "/piece/number": begun(pieces=[1]),
    "/piece/later": begun(pieces=[b"a first piece", "text"]),
    "/silent": silent,
    "/nothing": nothing,
    "/twice": twice,
    "/raises": raises,
    "/raises/at-once": raises_at_once,
    "/raises/later": raises_later,
    "/short": begun(fields=(("Content-Length", "5"),), pieces=[b"012", b"3456789"]),
    "/long": begun(fields=(("Content-Length", "50"),), pieces=[b"012", b"3456789"]),
    "/whole": begun(fields=(("Content-Length", "10"),), pieces=[b"012", b"3456789"]),
    "/steps": in_steps,
    "/step": step,
    "/endless": endless,
    "/count": count,
    "/late": late,
    "/file": file_of,
    "/file/offset": lambda *arguments: file_of(*arguments, offset=100_000),
    "/file/part": lambda *arguments: file_of(*arguments, offset=7, length=50_000),
    "/file/size": lambda *arguments: file_of(*arguments, size=1000),
    "/file/memory": file_in_memory,
    "/file/swapped": file_swapped,
    "/fields/many": too_many_fields,
    "/short/without-end": short_without_end,
}


def application(environ, start_response):
    return PATHS[environ["PATH_INFO"]](environ, start_response)
