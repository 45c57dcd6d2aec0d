"""The real proxy before pipelines that do what a test needs, found by the name that a cluster's DNS would have."""

import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml

from engines.envoy.access import Guard, secret_files
from engines.envoy.config import ADMIN_PORT, ProxyArgs, Route, bootstrap
from engines.envoy.pipeline_cluster import Pipelines
from engines.flags import plain
from rehearsal.ports import free_ports
from serve.name_server import NameServer

PIPELINE = Path(__file__).parent / "pipeline.py"
COMPLETION = json.dumps({"prompt": "The future of artificial intelligence is", "max_tokens": 100, "temperature": 0.7})
LEADERS = "leaders.test.svc.cluster.local"


class Pipeline:
    """A server process of tests/engines/envoy/pipeline.py, on an address of its own as a pod is."""

    def __init__(self, seconds, address, port):
        self.address, self.port, self.seconds = address, port, seconds
        self.published = True
        self.start()

    def start(self):
        command = [sys.executable, PIPELINE, str(self.seconds), self.address, str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "listening\n"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def hang(self):
        """Accepts connections and answers nothing, like a server with a deadlock or a stuck GPU."""
        self.process.send_signal(signal.SIGSTOP)

    def replace(self, serving_on, ending):
        """Does what a rolling change does with a pod: out of the DNS, serving on, told to end, killed, started again, ready."""
        self.published = False
        time.sleep(serving_on)
        self.process.terminate()
        time.sleep(ending)
        self.kill()
        self.start()
        self.published = True

    @property
    def most(self):
        """Requests that it had at once."""
        with urllib.request.urlopen(f"http://{self.address}:{self.port}/", timeout=10) as answer:
            return json.load(answer)["most"]


@contextlib.contextmanager
def pipelines(*seconds):
    """One for each number, which is how long it takes for an answer, or a token of a stream."""
    addresses = [f"127.0.1.{number}" for number in range(1, len(seconds) + 1)]
    [port] = free_ports(1, *addresses)
    made = []
    try:
        for each, address in zip(seconds, addresses, strict=True):
            made.append(Pipeline(each, address, port))
        yield made
    finally:
        for pipeline in made:
            pipeline.kill()


def arguments(*made, upstream=None, guard=None, **changes):
    """What the proxy is told; `upstream` changes what it is told of the pipelines, `guard` what it asks of clients."""
    ports = free_ports(2)
    behind = Pipelines(
        host=LEADERS,
        port=made[0].port,
        health_path="/health",
        health_interval_s=0.5,
        strategy="least_connections",
        pool_size=500,
        at_once=500,
        waiting=500,
        write_buffer_bytes=65536,
    )
    return dataclasses.replace(
        ProxyArgs(
            port=ports[0],
            metrics_port=ports[1],
            health_paths=("/api/v1/health", "/health"),
            pipelines=dataclasses.replace(behind, **(upstream or {})),
            rewrites=(Route(path="/v1/inference", upstream="/v1/completions"),),
            prefix="/v1/",
            max_connections=2000,
            keep_alive_s=60,
            connection_s=None,
            read_buffer_bytes=65536,
            silence_s=30,
            retries=3,
            max_request_bytes=2**20,
            request_s=60,
            memory_bytes=None,
            guard=dataclasses.replace(Guard(tls=None, api_keys_dir=None, requests_per_minute=None), **(guard or {})),
            target_s=2,
        ),
        **changes,
    )


@dataclasses.dataclass
class Proxy:
    pid: int
    port: int
    metrics_port: int
    admin_port: int
    names: NameServer
    log: Path

    def request(self, method, path, body=None, *, port=None, source="127.0.0.1", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60, source_address=(source, 0))
        with contextlib.closing(connection):
            connection.request(method, path, body, {"content-type": "application/json"} | headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def infer(self, **how):
        """`how`: `source`, the client's address, and headers."""
        return self.request("POST", "/v1/inference", COMPLETION, **how)

    def load(self, users, each):
        """Answers of a closed loop of users: statuses, headers and bodies."""

        def user():
            return [self.infer() for _ in range(each)]

        with concurrent.futures.ThreadPoolExecutor(users) as pool:
            return [answer for future in [pool.submit(user) for _ in range(users)] for answer in future.result()]

    def gauge(self, name):
        """A gauge of the cluster of pipelines; 0 while nothing answers."""
        try:
            metrics = self.request("GET", "/metrics", port=self.metrics_port)[2].decode()
        except OSError:
            return 0
        found = re.search(rf'^envoy_cluster_{name}\{{envoy_cluster_name="pipelines"\}} (\d+)', metrics, flags=re.MULTILINE)
        return int(found[1]) if found else 0

    @property
    def healthy(self):
        """Pipelines that passed their checks."""
        return self.gauge("membership_healthy")

    @property
    def health(self):
        """What it says of itself to whoever asks, or None."""
        try:
            return self.request("GET", "/api/v1/health")[0]
        except OSError:
            return None


def environment_program(name):
    """Path of a program that the Python environment brings, whether or not the environment is on PATH."""
    program = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    assert program, f"{name} is neither beside {sys.executable} nor on PATH: make environment"
    return program


@contextlib.contextmanager
def running(args, made, folder):
    """The proxy before those pipelines, once all of them that are published passed a check."""
    program = environment_program("envoy")
    names = NameServer("127.0.0.1", LEADERS, lambda: [each.address for each in made if each.published])
    names.start()
    [admin] = free_ports(1)
    file, log = folder / "envoy.yaml", folder / "envoy.log"
    file.write_text(yaml.safe_dump(_beside_others(plain(bootstrap(args)), names.port, admin)))
    if args.guard.tls:
        for name, document in plain(secret_files(args.guard.tls)).items():
            (Path(args.guard.tls.config_dir) / name).write_text(yaml.safe_dump(document))
    command = [program, "-c", str(file), "--log-level", "info", "--concurrency", "1", "--use-dynamic-base-id"]
    with log.open("w") as out:
        process = subprocess.Popen(command, stderr=out)
    proxy = Proxy(pid=process.pid, port=args.port, metrics_port=args.metrics_port, admin_port=admin, names=names, log=log)
    try:
        wait_for(lambda: process.poll() is not None or proxy.healthy == len(made), 30)
        assert process.poll() is None, log.read_text()
        yield proxy
    finally:
        process.kill()
        process.wait()
        names.close()


def _beside_others(document, names_port, admin):
    """Where a test's proxy differs from a pod's: another admin port, and the test's DNS."""
    text = yaml.safe_dump(document).replace(f"port_value: {ADMIN_PORT}", f"port_value: {admin}")
    changed = yaml.safe_load(text)
    discovery = changed["static_resources"]["clusters"][0]["cluster_type"]["typed_config"]
    discovery["typed_dns_resolver_config"]["typed_config"]["resolvers"] = [
        {"socket_address": {"address": "127.0.0.1", "port_value": names_port}}
    ]
    return changed


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
