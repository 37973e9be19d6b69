"""The application of load-worker in Python, for mod_wsgi."""

import time

HELLO = b"Hello from a worker of Ostler, sixty-six bytes and no more of it.\n"


def application(environ, start_response):
    path = environ["PATH_INFO"]
    fields = [("Content-Type", "text/plain; charset=utf-8")]
    body = HELLO
    if environ["REQUEST_METHOD"] == "POST":
        length = 0
        while piece := environ["wsgi.input"].read(65536):
            length += len(piece)
        body = b"%d\n" % length
    elif path.startswith("/bytes/"):
        body = b"0" * int(path[7:])
    elif path.startswith("/block/"):
        start = time.monotonic()
        time.sleep(int(path[7:]) / 1e6)
        fields.append(("X-Service-Us", str(int((time.monotonic() - start) * 1e6))))
    fields.append(("Content-Length", str(len(body))))
    start_response("200 OK", fields)
    return [body]
