"""What the weights' program talks to, as real HTTP servers: the hub with its download host, blob storage, Entra, a registry.

They answer as the real ones do: the hub redirects files to another host, storage keeps blocks apart until they are committed and wants
a token, a registry's 401 says where to sign in. Each can be told to fail.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
import urllib.parse
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

COMMIT = "b4e04e128f421c93a5f1e34ac4d7ca9b0af47b80"
SHARED_ACCESS = "sv=2023&sig=secret"


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class World:
    """All servers, on two ports of this machine: the download host is another host to a client."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        """The hub's model `org/model`; what is no text is in LFS."""
        self.hub_token: str | None = None
        self.page_size = 1000
        self.blobs: dict[str, bytes] = {}
        self.written: dict[str, float] = {}
        """When each blob was, in seconds since 1970."""
        self.blocks: dict[str, dict[str, bytes]] = {}
        self.layers: dict[str, bytes] = {}
        self.registry_password: str | None = None
        self.log: list[str] = []
        self.tokens_seen_by_cdn: list[str] = []
        self.refuse_storage = 0
        self.refuse_deletes_after: int | None = None
        self.break_after: int | None = None
        """Downloads end in the middle after so many."""
        self.corrupt: str | None = None
        """Name of a file whose first byte comes out wrong."""
        self.corrupt_storage = False
        self.ignore_ranges = False
        self.throttle = 0
        """So many times the hub says 429, and when to come back as a date."""
        self.no_json = False
        self.wrong_artifact = False
        self.changes_after_a_look: str | None = None
        """A blob whose owner replaces it as soon as somebody has asked about it."""
        self.lock = threading.Lock()
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in range(2)]
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.host, self.download_host = (f"127.0.0.1:{server.server_port}" for server in self._servers)

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def count(self, text: str) -> int:
        return sum(text in line for line in self.log)

    @property
    def manifest_digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.artifact()).hexdigest()}"

    def artifact(self) -> bytes:
        layers = [
            {
                "mediaType": "application/vnd.gguf",
                "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
                "size": len(content),
                "annotations": {"org.opencontainers.image.title": name},
            }
            for name, content in self.layers.items()
        ]
        return json.dumps({"schemaVersion": 2, "layers": layers}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer()

            do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

            def log_message(self, format: str, *args: object) -> None: ...

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with world.lock:
                    world.log.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
                    path, _, query = self.path.partition("?")
                    status, headers, content = world.answer(self.command, urllib.parse.unquote(path), query, self.headers, body)
                cut = headers.pop("cut", None)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                if cut:
                    self.close_connection = True

        return Handler

    def answer(self, method: str, path: str, query: str, headers, body: bytes) -> tuple[int, dict[str, str], bytes]:
        asked = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        if path.startswith(("/api/models/", "/org/")):
            return self._hub(path, asked, headers)
        if path.startswith("/download/"):
            return self._download(path.removeprefix("/download/"), headers)
        if path.startswith("/tenant/"):
            return self._entra(body)
        if path.startswith(("/v2/", "/auth")):
            return self._registry(path, headers)
        return self._storage(method, path, asked, query, headers, body)

    # the hub

    def _hub(self, path, asked, headers):
        if self.throttle:
            self.throttle -= 1
            return 429, {"Retry-After": "Wed, 25 Nov 2026 19:20:00 GMT"}, b""
        if self.no_json:
            return 200, {}, b"<html>a proxy's sign-in page</html>"
        if self.hub_token and headers.get("Authorization") != f"Bearer {self.hub_token}":
            return 401, {}, b""
        if path.startswith("/api/"):
            if path != f"/api/models/org/model/tree/{COMMIT}":
                return 404, {}, b""
            names, first = sorted(self.files), int(asked.get("cursor", 0))
            page = names[first : first + self.page_size]
            more = first + self.page_size < len(names)
            link = {"Link": f'<http://{self.host}{path}?recursive=true&cursor={first + self.page_size}>; rel="next"'} if more else {}
            return 200, link, json.dumps([{"type": "directory", "path": "folder", "oid": "0"}, *map(self._entry, page)]).encode()
        name = path.removeprefix(f"/org/model/resolve/{COMMIT}/")
        return 302, {"Location": f"http://{self.download_host}/download/{urllib.parse.quote(name)}"}, b""

    def _entry(self, name):
        content = self.files[name]
        large = {"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}}
        entry = {"type": "file", "path": name, "size": len(content), "oid": git_hash(content)}
        return entry if name.endswith(".json") else entry | large

    def _download(self, name, headers):
        if "Authorization" in headers:
            self.tokens_seen_by_cdn.append(headers["Authorization"])
        content = self.files[name] if name in self.files else self.layers[name]
        if self.corrupt == name:
            content = bytes([content[0] ^ 1]) + content[1:]
        status, answered, part = _part(content, {} if self.ignore_ranges else headers)
        if self.break_after is not None:
            self.break_after -= 1
            if self.break_after < 0:
                answered["cut"] = "yes"
        return status, answered, part

    # Entra and storage

    def _entra(self, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        right = form["scope"] == "https://storage.azure.com/.default" and form["client_assertion"] == "projected token"
        return (200, {}, b'{"access_token": "entra", "expires_in": 3600}') if right else (400, {}, b"")

    def _storage(self, method, path, asked, query, headers, body):
        signed = query.endswith(SHARED_ACCESS)
        if not signed and headers.get("Authorization") != "Bearer entra":
            return 401, {}, b""
        if self.refuse_storage:
            self.refuse_storage -= 1
            return 403, {}, b""
        container, _, name = path.strip("/").partition("/")
        key = f"{container}/{name}"
        if asked.get("comp") == "list":
            return 200, {}, self._listing(container, asked["prefix"])
        if method == "PUT" and asked.get("comp") == "block":
            if headers["Content-MD5"] != base64.b64encode(hashlib.md5(body).digest()).decode():
                return 400, {}, b""
            self.blocks.setdefault(key, {})[asked["blockid"]] = body
            return 201, {}, b""
        if method == "PUT" and asked.get("comp") == "blocklist":
            ids = re.findall(r"<Latest>([^<]+)</Latest>", body.decode())
            content = b"".join(self.blocks[key][one] for one in ids) if ids else b""
            self.blobs[key] = content[:-1] + b"?" if self.corrupt_storage else content
            self.written[key] = time.time()
            self.blocks.pop(key, None)
            return 201, {}, b""
        if method == "PUT":
            self.blobs[key], self.written[key] = body, time.time()
            return 201, {}, b""
        if asked.get("comp") == "blocklist":
            if key not in self.blocks and key not in self.blobs:
                return 404, {}, b""
            staged = "".join(f"<Block><Name>{n}</Name><Size>{len(b)}</Size></Block>" for n, b in self.blocks.get(key, {}).items())
            return 200, {}, f"<BlockList><UncommittedBlocks>{staged}</UncommittedBlocks></BlockList>".encode()
        if key not in self.blobs:
            return 404, {}, b""
        content = self.blobs[key]
        if method == "DELETE":
            if self.refuse_deletes_after is not None:
                self.refuse_deletes_after -= 1
                if self.refuse_deletes_after < 0:
                    return 403, {}, b""
            del self.blobs[key]
            return 202, {}, b""
        if headers.get("If-Match", _etag(content)) != _etag(content):
            return 412, {}, b""
        about = {"ETag": _etag(content), "Content-MD5": base64.b64encode(hashlib.md5(content).digest()).decode()}
        if key == self.changes_after_a_look:
            self.blobs[key] = content[::-1]
        if method == "HEAD":
            return 200, about | {"Content-Length": str(len(content)), "Last-Modified": self._written(key)}, content
        return _part(content, headers)

    def _listing(self, container, prefix):
        found = [key for key in sorted(self.blobs) if key.startswith(f"{container}/{prefix}")]
        listed = "".join(
            f"<Blob><Name>{escape(key.partition('/')[2])}</Name><Properties><Content-Length>{len(self.blobs[key])}</Content-Length>"
            f"<Last-Modified>{self._written(key)}</Last-Modified>"
            f"<Etag>{escape(_etag(self.blobs[key]).strip(chr(34)))}</Etag><Content-MD5/></Properties></Blob>"
            for key in found
        )
        return f"<EnumerationResults><Blobs>{listed}</Blobs><NextMarker/></EnumerationResults>".encode()

    def _written(self, key):
        return formatdate(self.written.get(key, 0), usegmt=True)

    # a registry

    def _registry(self, path, headers):
        if path == "/auth":
            basic = f"Basic {base64.b64encode((self.registry_password or '').encode()).decode()}"
            return (200, {}, b'{"token": "pull"}') if headers.get("Authorization") == basic else (401, {}, b"")
        if self.registry_password and headers.get("Authorization") != "Bearer pull":
            challenge = f'Bearer realm="http://{self.host}/auth",service="registry",scope="repository:models/tiny:pull"'
            return 401, {"WWW-Authenticate": challenge}, b""
        if path == f"/v2/models/tiny/manifests/{self.manifest_digest}":
            return 200, {}, self.artifact() + (b" " if self.wrong_artifact else b"")
        digest = path.rpartition("/")[2]
        for name, content in self.layers.items():
            if digest == f"sha256:{hashlib.sha256(content).hexdigest()}":
                return 307, {"Location": f"http://{self.download_host}/download/{name}"}, b""
        return 404, {}, b""


def _etag(content: bytes) -> str:
    return f'"0x{hashlib.sha1(content).hexdigest()[:12]}"'


def _part(content: bytes, headers) -> tuple[int, dict[str, str], bytes]:
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range") or "")
    if not wanted:
        return 200, {}, content
    return 206, {}, content[int(wanted[1]) : int(wanted[2]) + 1]
