"""The key that signs sessions: made once, then kept in the data directory."""

import contextlib
import os
import secrets
import tempfile


def read_or_create(path):
    """The key in this file; a new one where there is no file.

    Workers that start at the same moment all take the key of the first.
    """
    if not path.exists():
        # A temporary file is its owner's alone; linked, it appears whole or not at all.
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix="secret-") as file:
            file.write(secrets.token_urlsafe(50))
            file.flush()
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_text()
