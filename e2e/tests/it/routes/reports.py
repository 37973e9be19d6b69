"""A worker that says in the heads of its answers what they cost."""

import socket
import threading
import time

REPORTS = {
    b"/many": b"app;dur=9, db;n=23;dur=46.5, cache;desc=hit, cache.miss;n=2",
    b"/few": b"db;n=3;dur=1.5, http.users;dur=7",
    b"/slow": b"sql;n=4;dur=2",
    b"/wrong": b'db;n=-1;dur="x, db;n=9',
}


def answer(connection):
    path = connection.recv(65536).split(b" ")[1]
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n"
    report = REPORTS.get(path)
    if report:
        head += b"Server-Timing: " + report + b"\r\n"
    connection.sendall(head + b"\r\n")
    if path == b"/slow":
        time.sleep(0.7)
    connection.sendall(b"ok")
    connection.close()


listener = socket.socket(fileno=3)
while True:
    threading.Thread(target=answer, args=(listener.accept()[0],)).start()
