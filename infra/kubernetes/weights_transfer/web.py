"""Requests that wait out what passes, and say in one line what does not; and a file that is somewhere else."""

import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException

TRIES = 6
WAIT_FACTOR = float(os.environ.get("WAIT_FACTOR", "1"))


def pause(seconds):
    time.sleep(seconds * WAIT_FACTOR)


class Failure(Exception):
    """What went wrong and what to do, as one line."""


@dataclass
class Refused(Exception):
    """An answer that asking again does not change."""

    status: int
    url: str
    reason: str
    headers: dict = field(default_factory=dict)

    def __str__(self):
        return f"{self.url.partition('?')[0]}: {self.status} {self.reason}"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """The hub and registries redirect to other hosts, which must not see the token, and some of which refuse it."""

    def redirect_request(self, request, *rest):
        new = super().redirect_request(request, *rest)
        if new is not None and new.host != request.host:
            new.headers.pop("Authorization", None)
        return new


_OPEN = urllib.request.build_opener(_Redirects)


def call(method, url, headers=None, body=None):
    """(status, headers, body). Waits out what passes: broken connections, throttling, 5xx. Raises Refused for the rest."""
    for attempt in range(1, TRIES + 1):
        wait_s = min(30, 2**attempt / 2)
        try:
            with _OPEN.open(urllib.request.Request(url, body, headers or {}, method=method), timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            if error.code not in (408, 429, 500, 502, 503, 504) or attempt == TRIES:
                raise Refused(error.code, url, error.reason, dict(error.headers)) from None
            asked = error.headers.get("Retry-After", "")
            wait_s = float(asked) if asked.isdigit() else wait_s
        except (OSError, HTTPException) as error:
            if attempt == TRIES:
                raise Failure(f"{url.partition('?')[0]}: no answer after {TRIES} tries: {error}") from None
        pause(min(wait_s, 60))
    raise AssertionError


def say(text):
    print(f"weights: {text}", flush=True)


@dataclass
class Remote:
    """One file of a source."""

    path: str
    size: int
    url: str
    headers: object
    """Called for each request: tokens end within the hour."""
    digests: dict = field(default_factory=dict)
    """Algorithm (sha256, md5, or git for git's own hash of a blob) to hexadecimal digest, as far as the source says."""
    version: str = ""
    """Changes when its content does."""

    def read(self, start, count):
        wanted = {"Range": f"bytes={start}-{start + count - 1}"}
        try:
            status, _, body = call("GET", self.url, self.headers() | wanted)
        except Refused as error:
            changed = error.status == 412
            raise Failure(f"{self.path}: changed at its source while it was fetched; run again" if changed else str(error)) from None
        if len(body) != count or (status != 206 and count != self.size):
            raise Failure(f"{self.path}: the source sent {len(body)} bytes where {count} were asked for")
        return body
