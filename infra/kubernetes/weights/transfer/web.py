"""Requests that wait out what passes, and say in one line what does not; and a file that is somewhere else."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException

TRIES = 6
THROTTLED_S = 600
"""Twice the five minutes in which the hub counts requests: huggingface.co/docs/hub/rate-limits."""
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

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and new.host != req.host:
            new.headers.pop("Authorization", None)
        return new


_OPEN = urllib.request.build_opener(_Redirects)


def call(method, url, headers=None, body=None):
    """(status, headers, body). Waits out what passes: broken connections, 5xx, and throttling for longer. Raises Refused for the rest."""
    tries, throttled_s = 0, 0
    while True:
        tries += 1
        wait_s = min(30, 2**tries / 2)
        try:
            with _OPEN.open(urllib.request.Request(url, body, headers or {}, method=method), timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            if error.code in (429, 503) and throttled_s < THROTTLED_S:
                asked = error.headers.get("Retry-After", "")
                wait_s = min(60, float(asked)) if asked.isdigit() else 20
                tries, throttled_s = tries - 1, throttled_s + wait_s
            elif error.code not in (408, 429, 500, 502, 503, 504) or tries >= TRIES:
                raise Refused(error.code, url, error.reason, dict(error.headers)) from None
        except (OSError, HTTPException) as error:
            if tries >= TRIES:
                raise Failure(f"{url.partition('?')[0]}: no answer after {TRIES} tries: {error}") from None
        pause(wait_s)


def text_of(element, path):
    """The text below an element of an answer in XML."""
    text = element.findtext(path)
    if text is None:
        raise Failure(f"the storage's answer has no {path}")
    return text


def say(text):
    print(f"weights: {text}", flush=True)


@dataclass
class Remote:
    """One file of a source."""

    path: str
    size: int
    url: str
    headers: Callable[[], dict]
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
