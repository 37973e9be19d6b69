"""Counts database queries, and their time, of the request that makes them.

Django's connections and the DB-API modules below are watched, whenever they are imported, before
or after `install`; none of them is imported from here. A query that Django hands to one of the
modules counts once, and so does an `executemany`. Statements about the transaction or the
connection do not count, and neither does the time in which rows are fetched.

What the application sees stays what it was: classes keep their names, what was an instance or a
subclass of them still is. Where a hook fails, one line on standard error says so, and nothing is
counted there.

Not counted: `COPY`, `Cursor.stream` of psycopg, asynchronous cursors.
"""

import functools
import sys
import threading
import time

# How a statement begins that is about the transaction or the connection, not about data.
_OTHERS = frozenset(
    "ABORT BEGIN COMMIT END PRAGMA RELEASE ROLLBACK SAVEPOINT SET START".split()
)

# The methods of a cursor that ask the database something.
_ASKING = ("execute", "executemany", "executescript", "callproc")


class _Meter(threading.local):
    """Whether this thread is within a query that counts already, and who is told of queries."""

    is_busy = False
    report = None


_meter = _Meter()


def install(report):
    """Has `report("db", queries, seconds)` called after each query, in the thread that made it."""
    is_first = _Meter.report is None
    _Meter.report = staticmethod(report)
    if not is_first:
        return
    sys.meta_path.insert(0, _Watch())
    for name in _HOOKS:
        module = sys.modules.get(name)
        if module is not None:
            _hook(name, module)


def _ask(call, args, kwargs):
    """Calls what asks the database, and reports it unless whoever called it does."""
    if _meter.is_busy:
        return call(*args, **kwargs)
    _meter.is_busy = True
    start = time.perf_counter()
    try:
        return call(*args, **kwargs)
    finally:
        took = time.perf_counter() - start
        _meter.is_busy = False
        try:
            _meter.report("db", 1, took)
        except Exception as error:
            _complain_once("queries cannot be reported", error)


def _counts(query):
    """Whether a statement is about data. An object that is no text is taken for one that is."""
    if isinstance(query, bytes):
        query = query[:64].decode("latin-1")
    if not isinstance(query, str):
        return True
    words = query[:64].replace(";", " ").split(None, 1)
    return not words or words[0].upper() not in _OTHERS


def _counted_method(name, method):
    """A method of a cursor that counts."""
    if name != "execute":
        return _always_counted(method)

    @functools.wraps(method)
    def counted(self, *args, **kwargs):
        query = args[0] if args else kwargs.get("query", kwargs.get("sql"))
        if not _counts(query):
            return method(self, *args, **kwargs)
        return _ask(method, (self,) + args, kwargs)

    return counted


def _always_counted(method):
    @functools.wraps(method)
    def counted(self, *args, **kwargs):
        return _ask(method, (self,) + args, kwargs)

    return counted


def _methods_of(cls):
    """The asking methods that a class has itself, each in its counted form."""
    own = vars(cls)
    return {name: _counted_method(name, own[name]) for name in _ASKING if name in own}


def _hook_classes(*classes):
    """Has every cursor of these classes, which are written in Python, count."""
    counted = [(cls, _methods_of(cls)) for cls in classes]
    for cls, methods in counted:
        for name, method in methods.items():
            setattr(cls, name, method)


class _Cursors:
    """Makes cursors of classes written in C count: by subclasses, which it makes once each."""

    def __init__(self, base):
        self.base = base
        self.made = {}

    def counted(self, cls):
        """The counting subclass of a class of cursors; anything else as it is."""
        if not isinstance(cls, type) or not issubclass(cls, self.base):
            return cls
        if cls in self.made.values():
            return cls
        if cls not in self.made:
            methods = {}
            for name in _ASKING:
                if hasattr(cls, name):
                    methods[name] = _counted_method(name, getattr(cls, name))
            self.made[cls] = _subclass(cls, methods)
        return self.made[cls]


def _subclass(cls, members):
    """A subclass that goes by the name of its parent."""
    members = dict(members, __module__=cls.__module__, __qualname__=cls.__qualname__)
    members["__doc__"] = cls.__doc__
    return type(cls)(cls.__name__, (cls,), members)


def _hook_sqlite3(module):
    connect, connection = module.connect, module.Connection
    cursors = _Cursors(module.Cursor)
    made = {}

    def counted_connection(cls):
        has_own = cls.cursor is not connection.cursor

        def cursor(self, *args, **kwargs):
            if args:
                args = (cursors.counted(args[0]),) + args[1:]
            elif "factory" in kwargs:
                kwargs["factory"] = cursors.counted(kwargs["factory"])
            elif not has_own:
                kwargs["factory"] = cursors.counted(module.Cursor)
            return cls.cursor(self, *args, **kwargs)

        members = {"cursor": functools.wraps(cls.cursor)(cursor)}
        for name in ("execute", "executemany", "executescript"):
            method = getattr(cls, name)
            is_own = has_own or method is not getattr(connection, name)
            # Those of `sqlite3` do not look for a `cursor` that is ours.
            members[name] = _counted_method(name, method) if is_own else short_cut(name, method)
        return _subclass(cls, members)

    def short_cut(name, method):
        @functools.wraps(method)
        def ask(self, *args, **kwargs):
            return getattr(self.cursor(), name)(*args, **kwargs)

        return ask

    def factory_for(factory):
        if not isinstance(factory, type) or not issubclass(factory, connection):
            return factory
        if factory not in made:
            made[factory] = counted_connection(factory)
        return made[factory]

    @functools.wraps(connect)
    def counted_connect(*args, **kwargs):
        # database, timeout, detect_types, isolation_level, check_same_thread, factory
        if len(args) > 5:
            args = args[:5] + (factory_for(args[5]),) + args[6:]
        else:
            kwargs["factory"] = factory_for(kwargs.get("factory", connection))
        return connect(*args, **kwargs)

    factory_for(connection)
    cursors.counted(module.Cursor)
    for place in (module, module.dbapi2):
        place.connect = counted_connect


def _hook_psycopg2(module):
    connect, connection = module.connect, module.extensions.connection
    cursors = _Cursors(module.extensions.cursor)
    made = {}

    def counted_connection(cls):
        is_plain = cls is connection

        def cursor(self, *args, **kwargs):
            # name, cursor_factory, scrollable, withhold
            if len(args) > 1:
                args = (args[0], cursors.counted(args[1])) + args[2:]
            elif kwargs.get("cursor_factory") is not None:
                kwargs["cursor_factory"] = cursors.counted(kwargs["cursor_factory"])
            elif self.cursor_factory is not None:
                kwargs["cursor_factory"] = cursors.counted(self.cursor_factory)
            elif is_plain:
                kwargs["cursor_factory"] = cursors.counted(cursors.base)
            new = cls.cursor(self, *args, **kwargs)
            counted = cursors.counted(type(new))
            if counted is not type(new):
                # A connection that chooses its cursors by itself, as those of `extras`.
                try:
                    new.__class__ = counted
                except TypeError:
                    pass
            return new

        return _subclass(cls, {"cursor": functools.wraps(cls.cursor)(cursor)})

    def factory_for(factory):
        factory = connection if factory is None else factory
        if not isinstance(factory, type) or not issubclass(factory, connection):
            return factory
        if factory not in made:
            made[factory] = counted_connection(factory)
        return made[factory]

    @functools.wraps(connect)
    def counted_connect(dsn=None, connection_factory=None, cursor_factory=None, **kwargs):
        return connect(dsn, factory_for(connection_factory), cursor_factory, **kwargs)

    factory_for(connection)
    cursors.counted(cursors.base)
    module.connect = counted_connect


def _hook_psycopg(module):
    _hook_classes(module.Cursor, module.ServerCursor)


def _hook_cursors(module):
    """For PyMySQL and mysqlclient, whose cursors are written in Python."""
    own = (cls for cls in vars(module).values() if isinstance(cls, type))
    _hook_classes(*(cls for cls in own if cls.__module__ == module.__name__))


def _hook_django(_module):
    from django.db.backends.signals import connection_created

    def watch(connection, **_rest):
        # First, since `connection.execute_wrapper` takes the last one away again.
        if _django_wrapper not in connection.execute_wrappers:
            connection.execute_wrappers.insert(0, _django_wrapper)

    connection_created.connect(watch, weak=False, dispatch_uid="ostler.cost")


def _django_wrapper(execute, sql, params, many, context):
    if not _counts(sql):
        return execute(sql, params, many, context)
    return _ask(execute, (sql, params, many, context), {})


# What is watched, and by which function.
_HOOKS = {
    "django.db": _hook_django,
    "sqlite3": _hook_sqlite3,
    "psycopg2": _hook_psycopg2,
    "psycopg": _hook_psycopg,
    "pymysql.cursors": _hook_cursors,
    "MySQLdb.cursors": _hook_cursors,
}


class _Watch:
    """Finds a module as others would, and has it hooked once it is executed."""

    def find_spec(self, name, path=None, target=None):
        if name not in _HOOKS:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                _hook_after(name, spec.loader)
                return spec
        return None


def _hook_after(name, loader):
    """Has a loader, which may load other modules too, hook this one when it has executed it."""
    execute = getattr(loader, "exec_module", None)
    if execute is None or isinstance(loader, type):
        _complain_once("%s cannot be watched" % name, loader)
        return

    def exec_module(module):
        execute(module)
        if module.__name__ == name:
            _hook(name, module)

    try:
        loader.exec_module = exec_module
    except AttributeError as error:
        _complain_once("%s cannot be watched" % name, error)


def _hook(name, module):
    try:
        _HOOKS[name](module)
    except Exception as error:
        _complain_once("queries of %s are not counted" % name, error)


_complaints = set()


def _complain_once(what, error):
    if what not in _complaints:
        _complaints.add(what)
        print("ostler: cost: %s: %r" % (what, error), file=sys.stderr)
