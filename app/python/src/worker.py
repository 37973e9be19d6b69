"""What a worker does in Python: its command line, the application's import, the threads' life."""

import argparse
import atexit
import faulthandler
import importlib
import os
import signal
import site
import stat
import sys
import tempfile
import threading
import traceback
import types

from ostler_python import cost, interrupt, streams

#: Has `faulthandler` write the stacks of all threads. Programs rarely use these signals.
STACKS_SIGNAL = signal.SIGRTMAX - 7


class FileWrapper:
    """`wsgi.file_wrapper`: an iterable over a file."""

    def __init__(self, filelike, blksize=8192):
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self):
        return self

    def __next__(self):
        piece = self.filelike.read(self.blksize)
        if piece:
            return piece
        raise StopIteration


#: What reads a file's bytes as they are. Other objects with a descriptor may decode them.
PLAIN_FILES = ("FileIO", "BufferedReader", "BufferedRandom")


def regular_file(wrapper):
    """The descriptor, the offset and the rest's length of a wrapped file, if it is a plain one."""
    filelike = wrapper.filelike
    for candidate in (filelike, getattr(filelike, "file", None), getattr(filelike, "_file", None)):
        kind = type(candidate)
        if kind.__module__ == "_io" and kind.__name__ in PLAIN_FILES:
            if not reads_as(filelike, candidate):
                return None
            try:
                descriptor = candidate.fileno()
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    return None
                offset = candidate.tell()
            except (OSError, ValueError):
                return None
            return descriptor, offset, max(status.st_size - offset, 0)
    return None


def reads_as(filelike, plain):
    """Whether reading the one is reading the other: a wrapper may change or limit what it reads."""
    if filelike is plain or type(filelike) is tempfile.SpooledTemporaryFile:
        return True
    # `NamedTemporaryFile` wraps the file's own method, `django.core.files.File` hands it out.
    read = getattr(filelike, "read", None)
    read = getattr(read, "__wrapped__", read)
    return getattr(read, "__self__", None) is plain


def describe(error, trace=None):
    """The traceback of an exception."""
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


#: What a worker drains by.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Parts:
    """What calls the application."""

    file_wrapper = FileWrapper
    regular_file = staticmethod(regular_file)
    describe = staticmethod(describe)

    def __init__(self, callable, forget_interrupt):
        self.callable = callable
        self.forget_interrupt = forget_interrupt


def main(native):
    """Runs a worker as the command line says, until it is drained."""
    arguments = parse(sys.argv[1:])
    worker = None if arguments.check else native.Worker.from_environment(STACKS_SIGNAL)
    prepare(arguments, native)
    if worker is not None:
        worker.note_thread(threading.get_ident(), "main")
        faulthandler.register(STACKS_SIGNAL, worker.stacks, all_threads=True)
    try:
        for path in arguments.preload:
            run_script(path, "ostler_preload")
        application = load(arguments.wsgi)
    except BaseException as error:
        fail(error)
    if worker is None:
        leave(0)
    serve(native, worker, application, arguments)


def parse(arguments):
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="ostler_python", description="Runs a WSGI application as a worker of Ostler."
    )
    parser.add_argument("wsgi", help="module:callable, or the path of a script")
    parser.add_argument("--python-path", action="append", default=[], metavar="DIR")
    parser.add_argument("--mount", default="/", metavar="PATH")
    parser.add_argument("--switch-interval", type=float, metavar="SECONDS")
    parser.add_argument("--interrupt-timeout", type=float, metavar="SECONDS")
    parser.add_argument("--preload", action="append", default=[], metavar="FILE")
    parser.add_argument("--cost", action="append", default=[], choices=["db"])
    parser.add_argument("--check", action="store_true", help="import the application, then end")
    return parser.parse_args(arguments)


def prepare(arguments, native):
    """Makes the interpreter what applications expect."""
    sys.argv = [arguments.wsgi]
    # `-c` has put the current directory there as "", which would follow the application about.
    sys.path[0:1] = [os.getcwd()] if sys.path[:1] == [""] else sys.path[0:1]
    add_directories(arguments.python_path)
    if arguments.switch_interval is not None:
        sys.setswitchinterval(arguments.switch_interval)
    streams.install(native.errors)
    allow_forks(native)
    if arguments.cost:
        cost.install(native.cost)


def allow_forks(native):
    """Makes the processes that the application forks its own: they are no workers."""
    before = threading.local()

    def hold_signals():
        before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def release_signals():
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def in_child():
        native.forked()
        for number in SIGNALS:
            handler = signal.getsignal(number)
            # What a worker drains by would keep a child from ending; what the application has set
            # stays as it is.
            if handler in (signal.SIG_DFL, signal.SIG_IGN):
                signal.signal(number, handler)
        release_signals()

    os.register_at_fork(
        before=hold_signals, after_in_parent=release_signals, after_in_child=in_child
    )


def add_directories(directories):
    """Puts directories in front of the path, with what their .pth files name."""
    before = list(sys.path)
    for directory in directories:
        site.addsitedir(os.path.abspath(directory))
    added = [entry for entry in sys.path if entry not in before]
    sys.path[:] = added + before


def places(wsgi):
    """Where an application is: a module or a script, and the name of the callable in it."""
    name, found, attribute = wsgi.rpartition(":")
    if not found or "/" in attribute:
        return wsgi, "application"
    return name, attribute


def load(wsgi):
    """Imports an application: `module:callable`, or a script as mod_wsgi has them."""
    name, attribute = places(wsgi)
    if "/" in name or name.endswith(".py"):
        module = run_script(name, "ostler_wsgi")
    else:
        module = importlib.import_module(name)
    application = module
    for part in attribute.split("."):
        try:
            application = getattr(application, part)
        except AttributeError:
            raise ImportError(f"{name} has no {attribute!r}") from None
    if not callable(application):
        raise TypeError(f"{attribute!r} of {name} is {type(application).__name__}, not callable")
    return application


def run_script(path, name):
    """Runs a script as a module of its own."""
    path = os.path.abspath(path)
    module = types.ModuleType(name)
    module.__file__ = path
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    sys.modules[name] = module
    exec(code, module.__dict__)
    return module


def fail(error):
    """Ends a worker whose application was not imported, and says why."""
    if not isinstance(error, SystemExit) or error.code:
        trace = own_part(error.__traceback__)
        sys.stderr.write("".join(traceback.format_exception(type(error), error, trace)))
    else:
        sys.stderr.write("the application ended the process while it was imported\n")
    leave(1)


def own_part(trace):
    """A traceback without what led to the application's first line: this file, and `import`."""
    others = (__file__, importlib.__file__, "<frozen importlib._bootstrap>")
    others += ("<frozen importlib._bootstrap_external>",)
    while trace is not None and trace.tb_frame.f_code.co_filename in others:
        trace = trace.tb_next
    return trace


def serve(native, worker, application, arguments):
    """Runs the threads until the worker is drained."""
    environ = same_environ(worker, arguments)
    send, forget = interrupt.functions() if arguments.interrupt_timeout else (None, None)
    parts = Parts(application, forget)

    def work():
        interrupt_nobody()
        thread = threading.current_thread()
        worker.work((thread.ident, thread.name), parts, environ, arguments.mount)

    threads = [
        threading.Thread(target=work, name=f"ostler-{number}", daemon=True)
        for number in range(worker.threads)
    ]
    for thread in threads:
        thread.start()
    if arguments.interrupt_timeout:
        interrupt.start(worker, arguments.interrupt_timeout, send)
    worker.start()
    for thread in threads:
        wait_for(worker, thread)
    status = 0
    try:
        worker.join()
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        status = 1
    leave(status)


def interrupt_nobody():
    """Has the kernel start this thread when the one before it pauses or has had its turn.

    The proxy hands out all it has at once then, and threads do not cut each other's turn short. A
    policy other than the system's default stays.
    """
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError):
        # Not on this system, or forbidden by a sandbox: it costs time, not service.
        pass


def wait_for(worker, thread):
    """Waits for a thread. What a signal's handler raises meanwhile ends the worker in order."""
    while thread.is_alive():
        try:
            thread.join()
        except (KeyboardInterrupt, SystemExit):
            worker.stop()
        except BaseException as error:
            sys.stderr.write(describe(error))


def same_environ(worker, arguments):
    """What is the same for every request."""
    pool = os.environ.get("OSTLER_POOL", "")
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "Ostler",
        "wsgi.version": (1, 0),
        "wsgi.multithread": 1 < worker.threads,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        "mod_wsgi.version": (6, 0, 5),
        "mod_wsgi.process_group": pool,
        "mod_wsgi.application_group": "",
        "mod_wsgi.callable_object": places(arguments.wsgi)[1],
        "mod_wsgi.server_pid": os.getppid(),
    }


def leave(status):
    """Ends the process, whatever threads of the application's own still run."""
    try:
        atexit._run_exitfuncs()
    except BaseException as error:
        # Python 3.9 passes on what the last of them raised.
        sys.stderr.write(describe(error))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(status)
