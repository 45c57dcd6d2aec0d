"""A DNS server that answers for one headless Service, as the cluster's DNS does for the coordinator.

Its answers have the same records as CoreDNS's, from a table that the service keeps (RFC 1035, sections 4.1 and 3.2).
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable

TTL_SECONDS = 30
"""The records' lifetime; kubernetes/website content/en/docs/tasks/administer-cluster/dns-custom-nameservers.md, `ttl 30`."""

_HEADER = struct.Struct(">6H")
_ANSWERED, _NO_SUCH_NAME = 0x8580, 0x8583
_A, _INTERNET = 1, 1
_NAME_OF_QUESTION = 0xC00C


class NameServer:
    """A DNS server on a UDP port of its own, which answers from `start` to `close`."""

    def __init__(self, host: str, name: str, addresses: Callable[[], Iterable[str]]) -> None:
        """`addresses` returns the addresses of `name`; it is called for each query."""
        self._name = name
        self._addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        return self._socket.getsockname()[1]

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        # An empty datagram wakes the thread up; closing the socket does not.
        if self._thread.is_alive():
            self._socket.sendto(b"", self._socket.getsockname())
            self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(512)
            if not question:
                return
            self._socket.sendto(self._answer(question), client)

    def _answer(self, question: bytes) -> bytes:
        name, end = _name(question)
        (kind,) = struct.unpack_from(">H", question, end)
        addresses = list(self._addresses()) if name == self._name else []
        records = [_record(address) for address in addresses] if kind == _A else []
        flags = _ANSWERED if addresses else _NO_SUCH_NAME
        (number,) = struct.unpack_from(">H", question)
        return _HEADER.pack(number, flags, 1, len(records), 0, 0) + question[_HEADER.size : end + 4] + b"".join(records)


def _name(question: bytes) -> tuple[str, int]:
    """Returns the name in a query, and the offset of its end."""
    labels, at = [], _HEADER.size
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 1


def _record(address: str) -> bytes:
    return struct.pack(">3HIH", _NAME_OF_QUESTION, _A, _INTERNET, TTL_SECONDS, 4) + socket.inet_aton(address)
