"""Answers what it was asked: its environ, as JSON; and what is in the body."""

import json


def application(environ, start_response):
    told = {key: value if isinstance(value, str) else repr(value) for key, value in environ.items()}
    told["body"] = environ["wsgi.input"].read().decode("latin-1")
    body = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
