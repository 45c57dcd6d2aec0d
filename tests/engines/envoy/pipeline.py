"""A pipeline for the proxy's tests, as a process: answers completions after a while, in one piece or as a stream.

python pipeline.py SECONDS ADDRESS PORT     # prints that it listens; killed by SIGKILL and hung by SIGSTOP, as a real one would be

A request with `"deadly": true` ends it. At SIGTERM it does what llama-server does: it answers nothing more, and keeps its connections.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOCK = threading.Lock()
AT_ONCE = {"now": 0, "most": 0}
ENDING = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seconds: float
    """How long an answer takes, or a token of a stream; below 0 the weights are still being loaded."""

    def log_message(self, format, *args):
        pass

    def do_GET(self):
        deaf_when_ending()
        self.answer({"path": self.path, "most": AT_ONCE["most"], "headers": dict(self.headers)})

    def do_POST(self):
        deaf_when_ending()
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked.get("deadly"):
            os._exit(139)
        if self.seconds < 0:
            self.answer({"error": "loading"}, 503)
            return
        count(1)
        try:
            if asked.get("stream"):
                self.stream(asked)
            else:
                time.sleep(asked.get("seconds", self.seconds))
        finally:
            # Before the answer is whole: whoever has all of it may send the next request at once.
            count(-1)
        if asked.get("stream"):
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer({"path": self.path, "address": self.server.server_address[0], "prompt": asked["prompt"]})

    def answer(self, body, status=200):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.send_header("access-control-allow-origin", self.headers.get("origin", "*"))
        self.send_header("access-control-allow-credentials", "true")
        self.end_headers()
        self.wfile.write(text)

    def stream(self, asked):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for token in range(asked["max_tokens"]):
            deaf_when_ending()
            text = b"data: %d\n\n" % token
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            time.sleep(self.seconds)


def deaf_when_ending():
    if ENDING.is_set():
        threading.Event().wait()


def count(step):
    with LOCK:
        AT_ONCE["now"] += step
        AT_ONCE["most"] = max(AT_ONCE.values())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: ENDING.set())
    Handler.seconds = float(sys.argv[1])
    with Server((sys.argv[2], int(sys.argv[3])), Handler) as server:
        print("listening", flush=True)
        server.serve_forever()
