"""Reads the body of each request in many ways, and tells where that differs from a file's."""

import io
import random

STEPS = 400


def steps(random, length):
    """What is done, one after the other: the name of a method, and its arguments."""
    for _ in range(STEPS):
        size = random.choice([None, -1, 0, 1, 2, 7, 100, 4096, 70_000, length, length + 1])
        method = random.choice(["read", "readline", "readlines", "seek", "tell", "next"])
        if method == "seek":
            yield "seek", random.choice([(random.randrange(length + 10),), (0, 0), (0, 1), (0, 2),
                                         (-min(3, length), 2)])
        elif method in ("tell", "next"):
            yield method, ()
        else:
            yield method, random.choice([(), (size,)])


def result(file, method, arguments):
    """What a step gives: a value, or the kind of an exception."""
    try:
        if method == "next":
            return next(file, None)
        return getattr(file, method)(*arguments)
    except Exception as error:
        return type(error).__name__


def difference(stream, body, seed):
    """The first step that gives something else than a file in memory does."""
    model = io.BytesIO(body)
    for number, (method, arguments) in enumerate(steps(random.Random(seed), len(body))):
        wanted, found = result(model, method, arguments), result(stream, method, arguments)
        if found != wanted:
            return f"step {number}, {method}{arguments}: {found!r:.200}, and not {wanted!r:.200}"
    return "none"


def application(environ, start_response):
    stream = environ["wsgi.input"]
    # A large body can be gone back in where that is said before it is read.
    stream.seek(0)
    whole = stream.read()
    stream.seek(0)
    body = difference(stream, whole, int(environ["QUERY_STRING"])).encode("ascii", "replace")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Length", str(len(whole)))])
    return [body]
