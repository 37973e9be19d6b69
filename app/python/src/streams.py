"""Standard output and error: what a request's thread writes there is marked with its id."""

import sys


class Stream:
    """A stream of the process. What is written for a request goes where `wsgi.errors` goes."""

    def __init__(self, stream, errors):
        self._stream = stream
        self._errors = errors

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        errors = self._errors()
        return self._stream.write(text) if errors is None else errors.write(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        errors = self._errors()
        if errors is not None:
            errors.flush()
        self._stream.flush()


def install(errors):
    """Takes the place of the streams; `errors` gives the one of the calling thread's request."""
    # What is printed belongs in the log when it was printed.
    sys.stdout.reconfigure(line_buffering=True)
    sys.stdout, sys.stderr = Stream(sys.stdout, errors), Stream(sys.stderr, errors)
