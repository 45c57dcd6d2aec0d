"""A pipeline that answers /health and nothing else is restarted: the script of its liveness probe, in a shell as a pod's."""

import contextlib
import http.client
import json
import os
import signal
import subprocess

import pytest

from engines.envoy.pipeline_server import progress
from engines.metrics import table
from serve.rendering import render
from tests.engines.envoy.proxy import pipelines
from tests.serve.conftest import quick_dev

PROGRESS = progress(table("llama_cpp"))


def makes_progress(url, home, seconds=2):
    command = ["sh", "-c", PROGRESS, "progress", url, str(seconds)]
    return subprocess.run(command, env={"PATH": os.environ["PATH"], "HOME": str(home)}, timeout=60).returncode == 0


@pytest.mark.process
def test_a_server_that_never_answers_a_completion_makes_none_and_one_that_refuses_does(tmp_path):
    with pipelines(60, 0.01, -1) as made:
        found = [makes_progress(f"http://{one.address}:{one.port}", tmp_path) for one in made]
    assert found == [False, True, True]


@pytest.mark.process
def test_a_real_server_makes_progress_idle_and_busy_and_none_when_it_is_stuck(client, made, tmp_path):
    url = f"http://{made.metrics['pipeline 0']}"
    [stuck, *_] = made.pipelines
    assert [makes_progress(url, tmp_path, 20) for _ in range(2)] == [True, True], "idle: it makes the one token"
    stream = http.client.HTTPConnection(made.metrics["pipeline 0"], timeout=60)
    with contextlib.closing(stream):
        stream.request("POST", "/v1/completions", json.dumps({"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}))
        assert stream.getresponse().read1()
        assert makes_progress(url, tmp_path, 20), "busy: its counters move"
        stuck.process.send_signal(signal.SIGSTOP)
        try:
            assert not makes_progress(url, tmp_path)
        finally:
            stuck.process.send_signal(signal.SIGCONT)


def test_it_is_what_restarts_the_pod(tmp_path):
    """The user's own image may have neither a shell nor curl, so it has only the health check."""
    shard = render(quick_dev(tmp_path), "dev", 1).workload.shard
    assert shard.liveness.command[:3] == ("sh", "-c", PROGRESS)
    assert shard.liveness.timeout_seconds > int(shard.liveness.command[-1]) + 10, "the script ends by itself"
    assert not render(quick_dev(tmp_path, images={"shard": "ours:1"}), "dev", 1).workload.shard.liveness.command
