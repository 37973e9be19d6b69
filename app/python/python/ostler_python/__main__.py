"""`python -m ostler_python`: a worker, as the command of a pool."""

from ostler_python import _native

_native.main()
