"""The service of dev on this machine, with checks every second so that the tests need not wait."""

import contextlib
import http.client
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from rehearsal import processes
from rehearsal.ports import free_port
from serve.rendering import render
from serve.service import HOST, MARK, service
from tests.infra.variations import merged
from toolchain.cache import Cache

ROOT = Path(__file__).resolve().parents[2]
MODEL = Cache.of_user().share / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)


def quick_dev(folder, **sections):
    """dev's stack file with two pipelines, shorter times for what hangs, and other sections."""
    document = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())
    two_pipelines = {
        "zig-ai-aks:sharding": {"pipelines": 2},
        "zig-ai-aks:gpuPool": {"maxNodes": 2},
        "zig-ai-aks:coordinator": {"config": {"healthCheckInterval": "1s"}, "limits": {"queuedRequests": 30}},
        "zig-ai-aks:rollout": {"terminationGrace": "13s"},
    }
    document["config"] = merged(document["config"], two_pipelines)
    document["config"] = merged(document["config"], {f"zig-ai-aks:{name}": section for name, section in sections.items()})
    file = folder / "Pulumi.dev.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


class Client:
    """Asks one service."""

    def __init__(self, made):
        self.made = made

    def request(self, method, path, body=None, *, at=None, timeout=60):
        connection = http.client.HTTPConnection(at or f"{HOST}:{self.made.port}", timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def infer(self, tokens=8, prompt="The future of artificial intelligence is"):
        status, _, body = self.request("POST", "/v1/inference", json.dumps({"prompt": prompt, "max_tokens": tokens, "temperature": 0.7}))
        return status, body

    def users(self, count, each=10_000, until=lambda: False):
        """Answers of a closed loop of users who ask for a few words `each` times, or until told to stop; as a future."""

        def user(number):
            answers = []
            while len(answers) < each and not until():
                answers.append(self.infer(4, f"{number}.{len(answers)} Hi"))
            return answers

        pool = ThreadPoolExecutor(count + 1)
        return pool.submit(lambda: [answer for answers in pool.map(user, range(count)) for answer in answers])

    def metrics(self, member):
        return self.request("GET", "/metrics", at=self.made.metrics[member])[2].decode()

    def gauge(self, name):
        """Returns a metric of the coordinator about its pipelines."""
        text = self.metrics("coordinator")
        return int(re.search(rf'^envoy_cluster_{name}\{{envoy_cluster_name="pipelines"\}} (\d+)', text, re.MULTILINE)[1])

    def healthy(self):
        """Pipelines that the coordinator sends requests to."""
        return self.gauge("membership_healthy")

    def retries(self):
        return self.gauge("upstream_rq_retry")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    one = service(render(quick_dev(folder), "dev", 2), model=MODEL, port=free_port(), folder=folder)
    try:
        one.start(print)
        yield one
    finally:
        one.end()
    assert processes.marked(one.folder, MARK) == {}


@pytest.fixture
def client(made):
    """Waits until both pipelines are up, whatever the previous test did."""
    for pipeline in made.pipelines:
        if not pipeline.running:
            pipeline.start()
            pipeline.wait_until_ready(print)
    one = Client(made)
    wait_for(lambda: one.healthy() == 2, 20)
    return one
