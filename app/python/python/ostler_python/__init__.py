"""Runs WSGI applications as workers of Ostler.

An application finds here what it may want to know of: `RequestTimeout`, which a pool with an
`interrupt-timeout` raises in a thread whose request takes too long.
"""


class RequestTimeout(BaseException):
    """The request takes too long: its client was told so. No `Exception`, so that few catch it."""
