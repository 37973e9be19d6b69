"""What `cost.py` counts, and that it changes nothing else.

Databases that need a server are asked where OSTLER_TEST_POSTGRES (a connection string of libpq) or
OSTLER_TEST_MYSQL (a JSON object of arguments for `connect`) says how to reach one.
"""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest

SOURCES = pathlib.Path(__file__).parent.parent / "src"
sys.path.insert(0, str(SOURCES))

import cost  # noqa: E402

reported = []
cost.install(lambda *report: reported.append(report + (threading.get_ident(),)))


def importable(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True


class Counting(unittest.TestCase):
    def queries(self, call):
        """How many queries a call makes, each of which took its time, in this thread."""
        reported.clear()
        self.result = call()
        for name, count, seconds, thread in reported:
            self.assertEqual((name, count, thread), ("db", 1, threading.get_ident()))
            self.assertGreaterEqual(seconds, 0)
        return len(reported)

    def check_cursor(self, connection, mark):
        """What every cursor of DB-API has, on a connection outside of a transaction."""
        cursor = connection.cursor()
        count = lambda *args: self.queries(lambda: cursor.execute(*args))
        cursor.execute("DROP TABLE IF EXISTS cost")
        self.assertEqual(count("CREATE TABLE cost (n INTEGER)"), 1)
        many = "INSERT INTO cost VALUES (%s)" % mark
        self.assertEqual(self.queries(lambda: cursor.executemany(many, [(1,), (2,), (3,)])), 1)
        self.assertEqual(count("INSERT INTO cost VALUES (%s)" % mark, (4,)), 1)
        self.assertEqual(count("SAVEPOINT s"), 0)
        self.assertEqual(count("ROLLBACK TO SAVEPOINT s"), 0)
        self.assertEqual(self.queries(connection.commit), 0)
        self.assertEqual(count("SELECT n FROM cost ORDER BY n"), 1)
        self.assertEqual(self.queries(cursor.fetchall), 0)
        self.assertEqual([row[0] for row in self.result], [1, 2, 3, 4])
        with self.assertRaises(Exception):
            reported.clear()
            cursor.execute("SELECT nothing FROM nowhere")
        self.assertEqual(len(reported), 1, "one that fails has asked, too")
        connection.rollback()
        self.assertEqual(count("SELECT 1"), 1, "one that failed leaves nothing behind")
        self.assertEqual(self.queries(connection.rollback), 0)
        cursor.execute("DROP TABLE cost")
        connection.commit()


class Sqlite(Counting):
    def test_queries_of_cursors_are_counted(self):
        self.check_cursor(sqlite3.connect(":memory:"), "?")

    def test_short_cuts_of_connections_count_once(self):
        connection = sqlite3.connect(":memory:")
        create = lambda: connection.execute("CREATE TABLE t (n)")
        self.assertEqual(self.queries(create), 1)
        fill = lambda: connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
        self.assertEqual(self.queries(fill), 1)
        script = "BEGIN; DELETE FROM t; COMMIT;"
        self.assertEqual(self.queries(lambda: connection.executescript(script)), 1)
        with connection:
            self.assertEqual(self.queries(lambda: connection.execute("begin")), 0)

    def test_classes_stay_what_they_were(self):
        connection = sqlite3.connect(":memory:")
        self.assertIsInstance(connection, sqlite3.Connection)
        self.assertIsInstance(connection.cursor(), sqlite3.Cursor)
        name = "<sqlite3.Connection object"
        self.assertTrue(repr(connection).startswith(name), repr(connection))
        self.assertEqual(sqlite3.connect.__name__, "connect")
        self.assertIs(sqlite3.dbapi2.connect, sqlite3.connect)

    def test_classes_of_the_application_count_and_work(self):
        class Cursor(sqlite3.Cursor):
            def execute(self, *args):
                self.seen = args
                return super().execute(*args)

        class Connection(sqlite3.Connection):
            def cursor(self):
                return super().cursor(Cursor)

        plain = sqlite3.connect(":memory:")
        made = [sqlite3.connect(":memory:", factory=Connection)]
        if sys.version_info < (3, 12):
            made.append(sqlite3.connect(":memory:", 5.0, 0, None, True, Connection))
        own = [connection.cursor() for connection in made]
        for cursor in (plain.cursor(Cursor), plain.cursor(factory=Cursor), *own):
            self.assertIsInstance(cursor, Cursor)
            self.queries(lambda: cursor.execute("SELECT 1"))
            self.assertEqual(cursor.seen, ("SELECT 1",))
        self.assertEqual(self.queries(lambda: plain.cursor(Cursor).execute("SELECT 1")), 1)
        for connection in made:
            self.assertIsInstance(connection, Connection)
            self.assertEqual(self.queries(lambda: connection.execute("SELECT 1")), 1)
        function = sqlite3.connect(":memory:", factory=lambda *args, **rest: plain)
        self.assertIs(function, plain)

    def test_a_report_that_fails_does_not_fail_the_query(self):
        text = (
            "import cost, sqlite3\n"
            "def fail(*_report): raise ValueError('no')\n"
            "cost.install(fail)\n"
            "connection = sqlite3.connect(':memory:')\n"
            "for _ in range(3): print(connection.execute('SELECT 7').fetchone()[0])\n"
        )
        ended = run(text)
        self.assertEqual(ended.stdout.split(), ["7", "7", "7"], ended.stderr)
        expected = "ostler: cost: queries cannot be reported: ValueError('no')\n"
        self.assertEqual(ended.stderr, expected)


class Importing(unittest.TestCase):
    COUNT = "connection.execute('SELECT 1'); print(told)\n"

    def test_a_module_is_hooked_whether_it_was_imported_before_or_after(self):
        install = "import cost; told = []; cost.install(lambda *it: told.append(it[:2]))\n"
        connect = "connection = sqlite3.connect(':memory:')\n"
        for text in (
            install + "assert 'sqlite3' not in __import__('sys').modules; import sqlite3\n",
            "import sqlite3\n" + install,
            install + install + "from sqlite3 import dbapi2 as sqlite3\n",
        ):
            ended = run(text + connect + self.COUNT)
            self.assertEqual((ended.stdout, ended.stderr), ("[('db', 1)]\n", ""), text)

    def test_nothing_is_imported(self):
        ended = run(
            "import sys, cost; before = set(sys.modules); cost.install(print)\n"
            "print(sorted(set(sys.modules) - before))\n"
        )
        self.assertEqual(ended.stdout, "[]\n", ended.stderr)

    def test_a_module_that_is_not_as_expected_is_left_alone_with_one_line(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "psycopg.py").write_text("answer = 42\n")
            ended = run(
                "import cost; cost.install(print)\nimport psycopg; print(psycopg.answer)\n", folder
            )
        self.assertEqual(ended.stdout, "42\n")
        self.assertRegex(ended.stderr, r"\Aostler: cost: queries of psycopg are not counted: .*\n\Z")

    def test_a_module_that_is_missing_is_missing(self):
        ended = run(
            "import cost; cost.install(print)\n"
            "try: import MySQLdb.cursors\n"
            "except ModuleNotFoundError as error: print(error.name)\n",
            isolated=True,
        )
        self.assertEqual((ended.stdout, ended.stderr), ("MySQLdb\n", ""))


@unittest.skipUnless(importable("django"), "Django is not installed")
class Django(Counting):
    @classmethod
    def setUpClass(cls):
        from django.conf import settings

        name = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        settings.configure(DATABASES={"default": name}, USE_TZ=True)
        __import__("django").setup()

    def test_a_query_counts_once_and_transactions_not_at_all(self):
        from django.db import connection, transaction

        self.check_cursor_of(connection)
        with transaction.atomic():
            with transaction.atomic():
                with connection.cursor() as cursor:
                    self.assertEqual(self.queries(lambda: cursor.execute("SELECT 1")), 1)

        def empty():
            with transaction.atomic(), transaction.atomic():
                pass

        self.assertEqual(self.queries(empty), 0)

    def check_cursor_of(self, connection):
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
            many = lambda: cursor.executemany("INSERT INTO t VALUES (%s)", [(1,), (2,)])
            self.assertEqual(self.queries(many), 1)
            self.assertEqual(self.queries(lambda: cursor.execute("SELECT n FROM t")), 1)
            self.assertEqual(self.queries(cursor.fetchall), 0)

    def test_wrappers_of_the_application_come_and_go(self):
        from django.db import connection

        connection.ensure_connection()
        seen = []

        def wrapper(execute, sql, params, many, context):
            seen.append(sql)
            return execute(sql, params, many, context)

        for _ in range(2):
            with connection.execute_wrapper(wrapper), connection.cursor() as cursor:
                self.assertEqual(self.queries(lambda: cursor.execute("SELECT 2")), 1)
            connection.connect()
        self.assertEqual(seen, ["SELECT 2"] * 2)
        self.assertEqual(len(connection.execute_wrappers), 1)


@unittest.skipUnless("OSTLER_TEST_POSTGRES" in os.environ, "no PostgreSQL to ask")
class Postgres(Counting):
    DSN = os.environ.get("OSTLER_TEST_POSTGRES")

    @unittest.skipUnless(importable("psycopg2"), "psycopg2 is not installed")
    def test_psycopg2(self):
        import psycopg2
        import psycopg2.extras

        plain = psycopg2.connect(self.DSN)
        self.assertIsInstance(plain, psycopg2.extensions.connection)
        self.assertIsInstance(plain.cursor(), psycopg2.extensions.cursor)
        self.check_cursor(plain, "%s")
        real = psycopg2.extras.RealDictCursor
        by_factory = psycopg2.connect(self.DSN, connection_factory=psycopg2.extras.DictConnection)
        for cursor in (
            plain.cursor(cursor_factory=real),
            plain.cursor("named", real),
            plain.cursor(name="other"),
            psycopg2.connect(self.DSN, cursor_factory=real).cursor(),
            by_factory.cursor(),
        ):
            self.assertEqual(self.queries(lambda: cursor.execute("SELECT 1 AS one")), 1)
            self.assertEqual(self.queries(cursor.fetchone), 0)
            if not isinstance(cursor, (real, psycopg2.extras.DictCursor)):
                self.assertEqual(self.result, (1,))
            else:
                self.assertEqual(self.result["one"], 1)
        values = lambda: psycopg2.extras.execute_values(
            plain.cursor(), "SELECT * FROM (VALUES %s) AS v (n)", [(1,), (2,)]
        )
        self.assertEqual(self.queries(values), 1)

    @unittest.skipUnless(importable("psycopg"), "psycopg is not installed")
    def test_psycopg(self):
        import psycopg

        self.check_cursor(psycopg.connect(self.DSN), "%s")
        connection = psycopg.connect(self.DSN, row_factory=psycopg.rows.dict_row)
        for cursor in (connection.cursor(), connection.cursor("named")):
            self.assertEqual(self.queries(lambda: cursor.execute("SELECT 1 AS one")), 1)
            self.assertEqual(self.queries(cursor.fetchall), 0)
            self.assertEqual(self.result, [{"one": 1}])
        self.assertEqual(self.queries(lambda: connection.execute("SELECT 1")), 1)


@unittest.skipUnless("OSTLER_TEST_MYSQL" in os.environ, "no MySQL to ask")
class Mysql(Counting):
    ARGUMENTS = json.loads(os.environ.get("OSTLER_TEST_MYSQL", "{}"))

    @unittest.skipUnless(importable("pymysql"), "PyMySQL is not installed")
    def test_pymysql(self):
        import pymysql

        self.check(pymysql)

    @unittest.skipUnless(importable("MySQLdb"), "mysqlclient is not installed")
    def test_mysqlclient(self):
        import MySQLdb

        self.check(MySQLdb)

    def check(self, module):
        import importlib

        cursors = importlib.import_module(module.__name__ + ".cursors")
        connection = module.connect(**self.ARGUMENTS)
        self.check_cursor(connection, "%s")
        for kind in (cursors.DictCursor, cursors.SSCursor):
            cursor = connection.cursor(kind)
            self.assertIs(type(cursor), kind)
            self.assertEqual(self.queries(lambda: cursor.execute("SELECT 1 AS one")), 1)
            self.assertEqual(self.queries(cursor.fetchall), 0)
            self.assertEqual(len(self.result), 1)
            cursor.close()


def run(text, *folders, isolated=False):
    """Runs a program in an interpreter of its own, and waits for its end."""
    path = os.pathsep.join([str(SOURCES), *folders])
    flags = ["-S"] if isolated else []
    return subprocess.run(
        [sys.executable, *flags, "-c", text],
        env=dict(os.environ, PYTHONPATH=path),
        capture_output=True,
        text=True,
        timeout=60,
    )


if __name__ == "__main__":
    unittest.main()
