"""A pipeline for the proxy's tests, as a process: answers completions after a while, in one piece or as a stream.

python pipeline.py SECONDS      # prints its port; killed by SIGKILL and hung by SIGSTOP, as a real one would be
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
AT_ONCE = {"now": 0, "most": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer({"path": self.path, "most": AT_ONCE["most"]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        count(1)
        try:
            if self.server.seconds < 0:
                self.answer({"error": "loading"}, 503)
            elif asked.get("stream"):
                self.stream()
            else:
                time.sleep(self.server.seconds)
                self.answer({"path": self.path, "port": self.server.server_address[1], "prompt": asked["prompt"]})
        finally:
            count(-1)

    def answer(self, body, status=200):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for token in range(4):
            self.wfile.write(b"9\r\ndata: %d\n\n\r\n" % token)
            time.sleep(self.server.seconds)
        self.wfile.write(b"0\r\n\r\n")


def count(step):
    with LOCK:
        AT_ONCE["now"] += step
        AT_ONCE["most"] = max(AT_ONCE.values())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.05


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
