"""The coordinator's configuration in the real proxy, before servers that do what the tests need."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from engines.envoy import Backend, ProxyArgs, Route, bootstrap

PIPELINE = Path(__file__).parent / "pipeline.py"
COMPLETION = json.dumps({"prompt": "The future of artificial intelligence is", "max_tokens": 100, "temperature": 0.7})


class Pipeline:
    """A server process of tests/engines/pipeline.py."""

    def __init__(self, seconds=0.05):
        self.process = subprocess.Popen([sys.executable, PIPELINE, str(seconds)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def hang(self):
        """As a deadlock or a stuck GPU does: it accepts connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    @property
    def most(self):
        """Requests that it had at once."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            return json.load(answer)["most"]


@dataclasses.dataclass
class Proxy:
    port: int
    metrics_port: int

    def request(self, method, path, body=None, *, port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def infer(self):
        return self.request("POST", "/v1/inference", COMPLETION)

    def load(self, users, each):
        """Statuses of a closed loop of users, and the headers of the refused."""

        def user():
            return [self.infer() for _ in range(each)]

        with concurrent.futures.ThreadPoolExecutor(users) as pool:
            return [answer for future in [pool.submit(user) for _ in range(users)] for answer in future.result()]


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def arguments(*pipelines, **changes):
    ports = free_ports(2)
    return dataclasses.replace(
        ProxyArgs(
            port=ports[0],
            metrics_port=ports[1],
            health_path="/api/v1/health",
            backends=tuple(Backend(host="127.0.0.1", port=pipeline.port) for pipeline in pipelines),
            backend_health_path="/health",
            rewrites=(Route(path="/v1/inference", upstream="/v1/completions"),),
            prefix="/v1/",
            strategy="least_connections",
            max_connections=2000,
            pool_size=500,
            queued=500,
            keep_alive_s=60,
            read_buffer_bytes=65536,
            write_buffer_bytes=65536,
            health_interval_s=0.5,
            silence_s=30,
            retries=3,
            max_request_bytes=2**20,
        ),
        **changes,
    )


@contextlib.contextmanager
def running(args, folder):
    program = shutil.which("envoy")
    assert program, "envoy is not on PATH: run the tests with `make test`"
    file = folder / "envoy.yaml"
    # A test's proxies share a host, where the admin port of a pod would be taken.
    [admin] = free_ports(1)
    file.write_text(yaml.safe_dump(bootstrap(args)).replace("port_value: 9901", f"port_value: {admin}"))
    command = [program, "-c", str(file), "--log-level", "error", "--concurrency", "1", "--use-dynamic-base-id"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    proxy = Proxy(port=args.port, metrics_port=args.metrics_port)
    try:
        wait_for(lambda: process.poll() is not None or healthy(proxy) == len(args.backends), 20)
        assert process.poll() is None, process.stderr.read()
        yield proxy
    finally:
        process.kill()
        process.communicate()


def healthy(proxy):
    """Pipelines that passed their checks."""
    try:
        metrics = proxy.request("GET", "/metrics", port=proxy.metrics_port)[2].decode()
    except OSError:
        return 0
    found = re.search(r'^envoy_cluster_membership_healthy\{envoy_cluster_name="pipelines"\} (\d+)', metrics, flags=re.MULTILINE)
    return int(found[1]) if found else 0


def status(proxy):
    try:
        return proxy.request("GET", "/api/v1/health")[0]
    except OSError:
        return None


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


@contextlib.contextmanager
def pipelines(*seconds):
    made = [Pipeline(each) for each in seconds]
    try:
        yield made
    finally:
        for pipeline in made:
            pipeline.kill()


@pytest.fixture
def two():
    """Two pipelines alike."""
    with pipelines(0.05, 0.05) as made:
        yield made


def test_the_guides_request_becomes_a_completion_and_the_rest_passes_through(two, tmp_path):
    with running(arguments(*two), tmp_path) as proxy:
        code, _, body = proxy.infer()
        assert code == 200
        assert json.loads(body)["path"] == "/v1/completions"
        assert json.loads(body)["prompt"] == "The future of artificial intelligence is"
        assert json.loads(proxy.request("GET", "/v1/models")[2])["path"] == "/v1/models"
        assert proxy.request("GET", "/metrics")[0] == 404, "nothing but the service on the service's port"


def test_its_own_metrics_are_prometheus(two, tmp_path):
    with running(arguments(*two), tmp_path) as proxy:
        proxy.infer()
        code, _, text = proxy.request("GET", "/metrics", port=proxy.metrics_port)
        assert code == 200
        assert 'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="pipelines"}' in text.decode()
        assert "envoy_cluster_upstream_rq_time_bucket" in text.decode()


def test_least_connections_prefers_the_free_pipeline(tmp_path):
    with pipelines(0.8, 0.01) as (slow, quick), running(arguments(slow, quick), tmp_path) as proxy:
        answers = collections.Counter(json.loads(body)["port"] for _, _, body in proxy.load(users=8, each=8))
    assert answers[quick.port] > 1.5 * answers[slow.port]


def test_weights_share_out_round_robin(two, tmp_path):
    backends = tuple(Backend(host="127.0.0.1", port=pipeline.port, weight=weight) for pipeline, weight in zip(two, (1, 3), strict=True))
    with running(arguments(*two, strategy="round_robin", backends=backends), tmp_path) as proxy:
        ports = collections.Counter(json.loads(proxy.infer()[2])["port"] for _ in range(40))
    assert ports == {two[0].port: 10, two[1].port: 30}


def test_no_request_is_lost_when_a_pipeline_is_killed(two, tmp_path):
    with running(arguments(*two), tmp_path) as proxy:
        killer = threading.Timer(0.3, two[0].kill)
        killer.start()
        answers = proxy.load(users=30, each=15)
        killer.join()
    assert collections.Counter(code for code, _, _ in answers) == {200: 450}
    ports = collections.Counter(json.loads(body)["port"] for _, _, body in answers)
    assert 0 < ports[two[0].port] < ports[two[1].port], "the killed one had work, and the other took it over"


def test_a_pipeline_that_hangs_is_taken_out_and_its_requests_go_to_the_other(two, tmp_path):
    with running(arguments(*two, silence_s=2), tmp_path) as proxy:
        two[0].hang()
        start = time.monotonic()
        answers = proxy.load(users=10, each=2)
        assert collections.Counter(code for code, _, _ in answers) == {200: 20}
        assert 2 < time.monotonic() - start < 6, "those that it had were waited for, once"
        before = time.monotonic()
        assert proxy.infer()[0] == 200
        assert time.monotonic() - before < 1, "nothing is sent to it any more"


def test_a_pipeline_that_still_loads_costs_no_request(tmp_path):
    with pipelines(-1, 0.05) as (loading, ready), running(arguments(loading, ready), tmp_path) as proxy:
        answers = proxy.load(users=3, each=5)
    assert collections.Counter(code for code, _, _ in answers) == {200: 15}


def test_without_a_healthy_pipeline_it_says_so(two, tmp_path):
    with running(arguments(*two), tmp_path) as proxy:
        for pipeline in two:
            pipeline.kill()
        wait_for(lambda: status(proxy) == 503, 10)
        assert proxy.infer()[0] == 503


def test_requests_wait_in_line_and_are_refused_beyond_it(tmp_path):
    """Until a connection is open its request waits too: of a burst no fewer than the queue are served."""
    with pipelines(1.0, 1.0) as two, running(arguments(*two, pool_size=4, queued=6), tmp_path) as proxy:
        answers = proxy.load(users=40, each=1)
        statuses = collections.Counter(code for code, _, _ in answers)
        assert set(statuses) == {200, 503} and statuses[200] >= 6
        assert {headers.get("retry-after") for code, headers, _ in answers if code == 503} == {"1"}
        assert two[0].most + two[1].most <= 4


def test_a_request_too_large_is_refused_and_the_service_stays_up(two, tmp_path):
    with running(arguments(*two, max_request_bytes=1000), tmp_path) as proxy:
        assert proxy.request("POST", "/v1/inference", json.dumps({"prompt": "x" * 2000}))[0] == 413
        assert proxy.infer()[0] == 200


def test_more_clients_than_connections_are_turned_away(two, tmp_path):
    with running(arguments(*two, max_connections=3), tmp_path) as proxy, contextlib.ExitStack() as held:
        for _ in range(3):
            connection = held.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)))
            connection.request("GET", "/v1/models")
            assert connection.getresponse().read()
        with pytest.raises(OSError):
            proxy.request("GET", "/v1/models")


def test_a_stream_arrives_as_it_is_made(tmp_path):
    with pipelines(0.3) as made, running(arguments(*made, keep_alive_s=1), tmp_path) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/completions", json.dumps({"prompt": "x", "stream": True}))
            answer = connection.getresponse()
            first = answer.read1()
            start = time.monotonic()
            rest = answer.read()
    assert first.startswith(b"data: 0") and b"data: 3" in rest
    assert time.monotonic() - start > 0.5, "the first token did not wait for the last"
