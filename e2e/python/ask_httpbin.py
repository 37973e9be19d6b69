"""Asks a running httpbin with `requests`, and says how many of its answers were right."""

import itertools
import json
import sys
import uuid

import requests

base = sys.argv[1]
session = requests.Session()
checked = itertools.count(1)
done = 0


def check(what, found, wanted=True):
    """Ends with a message unless what was found is what was wanted."""
    global done
    if found != wanted:
        sys.exit(f"{what}: {found!r}, and not {wanted!r}")
    done = next(checked)


def ask(method, path, **options):
    return session.request(method, base + path, timeout=20, **options)


def requests_come_through():
    got = ask("GET", "/get", params={"a": "1", "b": ["2", "é&ü"]}, headers={"X-Own": "seen"})
    check("arguments", got.json()["args"], {"a": "1", "b": ["2", "é&ü"]})
    check("a field", got.json()["headers"]["X-Own"], "seen")
    check("the URL", got.json()["url"], got.url.replace("%C3%A9%26%C3%BC", "é%26ü"))
    check("the client", got.json()["origin"], "127.0.0.1")
    got = ask("POST", "/post", data={"name": "Ann", "words": "a b+c"})
    check("a form", got.json()["form"], {"name": "Ann", "words": "a b+c"})
    document = {"numbers": [1, 2.5, None], "text": "€"}
    check("JSON", ask("POST", "/post", json=document).json()["json"], document)
    content = "line\n" * 50_000
    got = ask("POST", "/post", files={"file": ("a.txt", content)}, data={"with": "it"})
    check("a file", got.json()["files"]["file"] == content)
    check("a form with a file", got.json()["form"], {"with": "it"})
    pieces = (b"%06d\n" % number for number in range(50_000))
    got = ask("POST", "/post", data=pieces, headers={"Content-Type": "text/plain"})
    wanted = "".join("%06d\n" % number for number in range(50_000))
    check("a body in chunks", got.json()["data"] == wanted)
    for method in ["PUT", "PATCH", "DELETE"]:
        got = ask(method, "/" + method.lower(), data=b"raw")
        check(method, got.json()["data"], "raw")
    got = ask("OPTIONS", "/get")
    check("OPTIONS", "HEAD" in got.headers["Allow"])
    got = ask("HEAD", "/get")
    check("HEAD", (got.status_code, got.content), (200, b""))
    check("the length for HEAD", 0 < int(got.headers["Content-Length"]))


def answers_come_back():
    for status in [200, 201, 204, 304, 400, 404, 418, 500, 503]:
        check("status", ask("GET", f"/status/{status}").status_code, status)
    got = ask("GET", "/redirect/3")
    check("redirects", ([step.status_code for step in got.history], got.status_code),
          ([302] * 3, 200))
    check("where they led", got.json()["url"], base + "/get")
    check("an absolute redirect", ask("GET", "/absolute-redirect/1").json()["url"], base + "/get")
    got = ask("GET", "/response-headers", params={"X-Told": ["a", "b"]})
    check("fields of the answer", got.headers["X-Told"], "a, b")
    check("text beyond ASCII", "∮ E⋅da = Q" in ask("GET", "/encoding/utf8").text)
    check("an image", ask("GET", "/image/png").content[:8], b"\x89PNG\r\n\x1a\n")
    check("a UUID", uuid.UUID(ask("GET", "/uuid").json()["uuid"]).version, 4)
    check("base64", ask("GET", "/base64/T3N0bGVy").text, "Ostler")


def cookies_are_kept():
    ask("GET", "/cookies/set", params={"one": "1", "two": "2"})
    check("cookies", ask("GET", "/cookies").json()["cookies"], {"one": "1", "two": "2"})
    ask("GET", "/cookies/delete", params={"one": ""})
    check("a cookie that is gone", ask("GET", "/cookies").json()["cookies"], {"two": "2"})


def codings_are_left_alone():
    for coding, told in [("gzip", "gzipped"), ("deflate", "deflated"), ("brotli", "brotli")]:
        check(coding, ask("GET", f"/{coding}").json()[told])


def bodies_are_streamed():
    got = ask("GET", "/stream/20", stream=True)
    check("lines", [json.loads(line)["id"] for line in got.iter_lines()], list(range(20)))
    check("so many bytes", len(ask("GET", "/bytes/70000").content), 70_000)
    same = [ask("GET", "/stream-bytes/90000?seed=7&chunk_size=999").content for _ in range(2)]
    check("the same bytes", (len(same[0]), same[0] == same[1]), (90_000, True))
    got = ask("GET", "/range/1000", headers={"Range": "bytes=10-19"})
    check("a range", (got.status_code, got.text), (206, "klmnopqrst"))
    check("its place", got.headers["Content-Range"], "bytes 10-19/1000")
    check("a drip", ask("GET", "/drip?numbytes=5&duration=1&delay=0").text, "*****")
    check("a delay", ask("GET", "/delay/1").status_code, 200)


def clients_say_who_they_are():
    check("nobody", ask("GET", "/basic-auth/ann/secret").status_code, 401)
    got = ask("GET", "/basic-auth/ann/secret", auth=("ann", "secret"))
    check("basic", got.json(), {"authenticated": True, "user": "ann"})
    check("bearer", ask("GET", "/bearer", headers={"Authorization": "Bearer x"}).json()["token"],
          "x")
    digest = requests.auth.HTTPDigestAuth("ann", "secret")
    got = ask("GET", "/digest-auth/auth/ann/secret", auth=digest)
    check("digest", got.json()["user"], "ann")


requests_come_through()
answers_come_back()
cookies_are_kept()
codings_are_left_alone()
bodies_are_streamed()
clients_say_who_they_are()
print(done, "answers were right")
