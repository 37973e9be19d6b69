import http.server, os, socket, socketserver, threading, time
lock, running, most = threading.Lock(), 0, 0
log = open(os.environ["COUNTS"] + "." + str(os.getpid()), "a")
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global running, most
        with lock:
            running += 1
            most = max(most, running)
            log.write("%d %s\n" % (most, self.headers["x-request-id"]))
            log.flush()
        time.sleep(0.01)
        with lock:
            running -= 1
        self.send_response(200)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")
    def address_string(self):
        return "-"
    def log_message(self, *arguments):
        pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("-", 0)
server = Server(("", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.serve_forever()
