"""Clients that are slow, broken or greedy: refused in words, and the service stays up for the others."""

import collections
import concurrent.futures
import contextlib
import json
import socket

import pytest

from tests.engines.envoy.proxy import arguments, pipelines, running, wait_for

pytestmark = pytest.mark.process

BODY = b'{"prompt": "x", "max_tokens": 1}'
HEAD = b"POST /v1/inference HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
def one():
    with pipelines(0.05) as made:
        yield made


def said(port, sent, *later):
    """What comes back for these bytes until the proxy closes the connection."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as client:
        client.sendall(sent)
        found = b""
        while part := client.recv(65536):
            found += part
        return found


CLOSE = b"connection: close\r\n\r\n"
BROKEN = {
    "an encoded slash": (b"GET /v1/models%2Fx HTTP/1.1\r\nhost: x\r\n" + CLOSE, 400),
    "a fragment": (b"GET /v1/models#x HTTP/1.1\r\nhost: x\r\n" + CLOSE, 400),
    "no path": (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n" + CLOSE, 404),
    "a path that is not there": (b"GET /metrics HTTP/1.1\r\nhost: x\r\n" + CLOSE, 404),
    "a method that is none": (b"FOO /v1/models HTTP/1.1\r\nhost: x\r\n" + CLOSE, 400),
    "HTTP/1.0": (b"GET /v1/models HTTP/1.0\r\nhost: x\r\n\r\n", 426),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a WebSocket": (b"GET /v1/realtime HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 403),
    "a tunnel": (b"CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n", 408),
    "an encoding that nobody knows": (HEAD + b"transfer-encoding: gzip\r\n\r\n", 501),
    "a host with a space": (b"GET /v1/models HTTP/1.1\r\nhost: x y\r\n\r\n", 400),
    "150 headers": (HEAD + b"".join(b"a%d: x\r\n" % number for number in range(150)) + b"\r\n", 431),
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", 400),
    "no version": (b"POST /v1/inference\r\n\r\n", 426),
    "no host": (b"POST /v1/inference HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 400),
    "a length that is no number": (HEAD + b"content-length: many\r\n\r\n", 400),
    "two lengths": (HEAD + b"content-length: 3\r\ncontent-length: 32\r\n\r\n" + BODY, 400),
    "a length and chunks": (HEAD + b"content-length: 32\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a bad chunk": (HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
    "a header with a line feed in it": (HEAD + b"a: b\0c\r\ncontent-length: 0\r\n\r\n", 400),
    "headers without end": (HEAD + b"a: " + b"x" * 62_000 + b"\r\n\r\n", 431),
}


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    """A proxy for all broken requests, which is what they may not change."""
    with pipelines(0.05) as made, running(arguments(*made, request_s=5), made, tmp_path_factory.mktemp("door")) as proxy:
        yield proxy


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_request_is_refused_in_words_and_the_service_stays_up(what, door):
    sent, status = BROKEN[what]
    head, _, body = said(door.port, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status) and in_words(body)
    assert door.infer()[0] == 200


def in_words(body):
    """Whether a refusal has OpenAI's form and says in a sentence what is wrong; Envoy's own is empty or repeats the status."""
    message = json.loads(body)["error"]["message"]
    return message.endswith(".") and len(message.split()) > 4


@pytest.mark.parametrize(
    "sent",
    [b"POST /v1/inf", HEAD, HEAD + b"content-length: 32\r\n\r\n" + BODY[:5]],
    ids=["in its first line", "in its headers", "in its body"],
)
def test_a_client_that_stops_halfway_is_told_so_and_holds_nothing(sent, one, tmp_path):
    with running(arguments(*one, request_s=2), one, tmp_path) as proxy:
        answer = said(proxy.port, sent)
        assert answer == b"" or (answer.startswith(b"HTTP/1.1 408 ") and in_words(answer.partition(b"\r\n\r\n")[2]))
        wait_for(lambda: 'http_downstream_cx_active{envoy_http_conn_manager_prefix="coordinator"} 0' in metrics(proxy), 20)
        assert one[0].most == 0, "nothing was sent on"


def metrics(proxy):
    return proxy.request("GET", "/metrics", port=proxy.metrics_port)[2].decode()


def test_many_slow_clients_keep_nobody_waiting(one, tmp_path):
    with running(arguments(*one), one, tmp_path) as proxy, contextlib.ExitStack() as held:
        for _ in range(300):
            client = held.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=60)))
            client.sendall(HEAD + b"content-length: 32\r\n\r\n" + BODY[:5])
        assert {proxy.infer()[0] for _ in range(5)} == {200}


def test_a_request_too_large_is_refused_however_it_comes(one, tmp_path):
    large = json.dumps({"prompt": "x" * 3000}).encode()
    with running(arguments(*one, max_request_bytes=1000, request_s=5), one, tmp_path) as proxy:
        code, _, body = proxy.request("POST", "/v1/inference", large)
        assert code == 413 and json.loads(body)["error"]["code"] == 413 and in_words(body)
        chunked = HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(large), large)
        assert said(proxy.port, chunked).startswith(b"HTTP/1.1 413 ")
        assert proxy.infer()[0] == 200


def nested(depth, inside='"x"'):
    return b'{"max_tokens": 1, "prompt": "x", "metadata": ' + b"[" * (depth - 1) + inside.encode() + b"]" * (depth - 1) + b"}"


DEEP = {
    "as deep as may be": (nested(128), 200),
    "one deeper": (nested(129), 400),
    "as in public reports": (nested(100_000), 400),
    "never closed": (b'{"a":' * 1000, 400),
    "brackets that are text": (nested(2, json.dumps('"[{' * 1000 + "\\")), 200),
    "wide and not deep": (nested(2, ",".join(["[[]]"] * 1000)), 200),
    "a text of many smileys": (json.dumps({"prompt": ":( " * 3999, "max_tokens": 1}).encode(), 200),
    "a grammar that kills llama-server": (json.dumps({"prompt": "x", "grammar": "root ::= " + "(" * 30_000}).encode(), 400),
    "the same escaped": (b'{"prompt": "x", "grammar": "' + b"\\u0028\\u005B" * 3000 + b'"}', 400),
    "an upload in parts": (b"--boundary" + b"[" * 1000, "whatever the server says"),
}


@pytest.mark.parametrize("what", DEEP)
def test_json_that_nests_too_deep_reaches_no_server(what, one, tmp_path):
    body, expected = DEEP[what]
    with running(arguments(*one), one, tmp_path) as proxy:
        code, _, said = proxy.request("POST", "/v1/completions", body)
        if expected == 400:
            assert code == 400 and "nested too deep: it may have 128 levels of JSON" in json.loads(said)["error"]["message"]
            assert one[0].most == 0
        else:
            assert code == 200 if expected == 200 else b"nested" not in said


@pytest.mark.parametrize("path", ["/v1/../metrics", "/v1/%2e%2e/metrics", "/v1//../metrics", "/v1/..%2fmetrics", "/metrics", "/slots"])
def test_no_path_leads_around_the_service(path, one, tmp_path):
    with running(arguments(*one), one, tmp_path) as proxy:
        code, _, body = proxy.request("GET", path)
        answer = json.loads(body)
        assert answer.get("path") == "/v1/metrics" or (code in (400, 404) and in_words(body)), "or what the pipeline saw"


def test_a_large_request_is_sent_anew_too(tmp_path):
    """It is kept until it is answered: beyond 64 KiB Envoy would not keep it by itself."""
    with pipelines(-1, 0.05) as two, running(arguments(*two), two, tmp_path) as proxy:
        body = json.dumps({"prompt": "x" * 500_000})
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(proxy.request, "POST", "/v1/inference", body) for _ in range(16)]
            answers = [one.result() for one in asked]
        assert collections.Counter(code for code, _, _ in answers) == {200: 16}
        assert proxy.gauge("upstream_rq_retry") > 0
        assert {len(json.loads(body)["prompt"]) for _, _, body in answers} == {500_000}


def test_near_the_end_of_its_memory_it_refuses_requests_and_lives(tmp_path):
    """Else the kernel would end it, and with it every request of every client."""
    with pipelines(8) as made, running(arguments(*made, memory_bytes=160 * 2**20), made, tmp_path) as proxy:
        body = json.dumps({"prompt": "x" * 1_000_000})
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            asked = [pool.submit(proxy.request, "POST", "/v1/inference", body) for _ in range(200)]
            wait_for(lambda: proxy.request("GET", "/v1/models")[0] == 503, 20)
            assert in_words(proxy.request("GET", "/v1/models")[2])
            assert proxy.request("GET", "/ready", port=proxy.metrics_port)[0] == 200, "a probe that fails would have it restarted"
            assert collections.Counter(one.result()[0] for one in asked)[200] > 50, "what it had taken on it finished"
        wait_for(lambda: proxy.request("GET", "/v1/models")[0] == 200, 60)
