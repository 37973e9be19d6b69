"""A site made with Flask: sessions, uploads, streams, files, and errors."""

import io
import os

import flask

application = flask.Flask(__name__)
application.secret_key = "only for tests"


@application.get("/hello/<path:name>")
def hello(name):
    return flask.render_template_string("Hello, {{ name }}!", name=name)


@application.get("/count")
def count():
    flask.session["count"] = flask.session.get("count", 0) + 1
    return str(flask.session["count"])


@application.post("/upload")
def upload():
    file = flask.request.files["file"]
    return {"name": file.filename, "length": len(file.read()), "note": flask.request.form["note"]}


@application.post("/json")
def echo():
    return flask.request.get_json()


@application.get("/stream")
def stream():
    return flask.Response((f"{number}\n" for number in range(1000)), mimetype="text/plain")


@application.get("/file")
def file():
    return flask.send_file(os.environ["SUBJECT_FILE"], mimetype="text/plain", conditional=True)


@application.get("/memory")
def memory():
    return flask.send_file(io.BytesIO(b"in memory"), mimetype="text/plain")


@application.get("/url")
def url():
    return flask.url_for("hello", name="a b", _external=True)


@application.get("/broken")
def broken():
    raise RuntimeError("broken as asked")
