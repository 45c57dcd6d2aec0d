"""dev's own command lines answer on this machine: real proxy, real llama-server, a real small model."""

import collections
import contextlib
import http.client
import json
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
from typing import Any

import openai
import pytest
import yaml

from infra.kubernetes import names
from rehearsal import processes
from rehearsal.programs import find_program
from serve.rendering import render
from serve.service import HOST, MARK
from tests.serve.conftest import quick_dev, wait_for

pytestmark = pytest.mark.process


def statuses(answers):
    """Counts the answers by status, with the text of those that were not 200."""
    return collections.Counter(status if status == 200 else (status, body[:200]) for status, body in answers)


def test_the_guides_request_is_answered_with_text(client):
    status, body = client.infer(tokens=16)
    assert status == 200
    answer = json.loads(body)
    assert answer["choices"][0]["text"].strip()
    # At the guide's temperature a small model may end its answer before that.
    assert 1 < answer["usage"]["completion_tokens"] <= 16


def test_the_processes_are_the_pods_commands_but_for_what_is_printed(made, tmp_path):
    """The issue's claim: what answers here is what the rendered pods would run."""
    workload = render(quick_dev(tmp_path), "dev", 2).workload
    for member in made.pipelines:
        running = processes.marked(made.folder, MARK)[member.process.pid].split(" ")
        assert running == list(member.command.arguments)
        assert len(running) == len(workload.shard.args) + 1
        pairs = zip(workload.shard.args, running[1:], strict=True)
        differ = {workload.shard.args[index - 1] for index, (pod, here) in enumerate(pairs) if pod != here}
        assert differ == {each.what for each in member.command.substitutions}
    [file] = workload.coordinator.config_files
    here = (made.folder / "config" / file.name).read_text()
    assert without_addresses(yaml.safe_load(here)) == without_addresses(yaml.safe_load(file.content))
    rest = [argument for argument in made.coordinator.command.arguments if argument not in workload.coordinator.args]
    assert rest == ["envoy", str(made.folder / "config" / file.name)]


def without_addresses(node):
    if isinstance(node, list):
        return [without_addresses(item) for item in node]
    if isinstance(node, dict):
        return {key: without_addresses(value) for key, value in node.items() if key not in ("socket_address", "resolvers")}
    return node


def test_as_many_users_as_there_is_room_for_are_all_answered(client):
    """Two pipelines run seven each, and thirty wait."""
    answers = client.users(40, each=2).result(timeout=120)
    assert statuses(answers) == {200: 80}
    assert all(json.loads(body)["usage"]["completion_tokens"] > 0 for _, body in answers)


def test_of_a_burst_onto_free_pipelines_nobody_is_refused_who_has_room(client, made):
    """No connection to a pipeline is open when all of them are read, so that to the proxy all of them wait."""
    proxy = made.coordinator.process
    with contextlib.ExitStack() as held:
        users = [held.enter_context(contextlib.closing(http.client.HTTPConnection(HOST, made.port, timeout=120))) for _ in range(40)]
        proxy.send_signal(signal.SIGSTOP)
        try:
            for user in users:
                user.request("POST", "/v1/completions", json.dumps({"prompt": "Hi", "max_tokens": 4}))
        finally:
            proxy.send_signal(signal.SIGCONT)
        answers = [(answer.status, answer.read()) for answer in (user.getresponse() for user in users)]
    assert statuses(answers) == {200: 40}


def test_a_killed_pipeline_loses_what_it_had_and_nothing_else(client, made):
    load = client.users(20, each=3)
    wait_for(lambda: client.gauge("upstream_rq_active") > 10, 10)
    made.pipelines[0].process.kill()
    answers = collections.Counter(status for status, _ in load.result(timeout=120))
    assert set(answers) == {200, 502} and answers[502] <= 20 and sum(answers.values()) == 60


def test_no_request_is_lost_or_sent_anew_in_a_rolling_change(client, made):
    """llama-server that is told to end answers nothing more and keeps its connections: no request may meet it then."""
    was = [pipeline.process.pid for pipeline in made.pipelines]
    changed, before = threading.Event(), client.retries()
    load = client.users(6, until=changed.is_set)
    for index in range(2):
        time.sleep(1)
        made.replace(index)
        wait_for(lambda: client.healthy() == 2, 20)
    changed.set()
    answers = statuses(load.result(timeout=60))
    assert set(answers) == {200} and answers[200] > 10
    assert not set(was) & {pipeline.process.pid for pipeline in made.pipelines}
    assert client.retries() == before


def test_a_stream_is_finished_by_the_pipeline_that_is_replaced(client, made):
    body = json.dumps(
        {"prompt": "Once upon a time", "max_tokens": 60, "stream": True, "ignore_eos": True, "stream_options": {"include_usage": True}}
    )
    connection = http.client.HTTPConnection(HOST, made.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/completions", body)
        answer = connection.getresponse()
        said = answer.read1()
        [busy] = [index for index, pipeline in enumerate(made.pipelines) if processing(client, index)]
        replaced = threading.Thread(target=made.replace, args=(busy,))
        replaced.start()
        said += answer.read()
        replaced.join()
    assert b'"completion_tokens":60' in said.replace(b" ", b"") and said.endswith(b"data: [DONE]\n\n")


def processing(client, index):
    """Whether a pipeline has a request."""
    return "llamacpp:requests_processing 1" in client.metrics(f"pipeline {index}")


def test_the_openai_package_gets_answers_and_streams(client, made):
    with openai.OpenAI(base_url=f"{made.url}/v1", api_key="none", max_retries=0, timeout=60) as ours:
        whole = ours.completions.create(model="any", prompt="Once upon a time", max_tokens=12, temperature=0)
        assert whole.choices[0].text and whole.usage.completion_tokens == 12
        parts = list(ours.completions.create(model="any", prompt="Once upon a time", max_tokens=12, temperature=0, stream=True))
        assert len(parts) > 6
        assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
        question: Any = [{"role": "user", "content": "Count from one to twenty."}]
        assert ours.chat.completions.create(model="any", messages=question, max_tokens=12, temperature=0).choices[0].message.content
        chat = ours.chat.completions.create(model="any", messages=question, max_tokens=12, temperature=0, stream=True)
        assert sum(bool(part.choices and part.choices[0].delta.content) for part in chat) > 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"prompt": "x', range(400, 500)),
        ("[1, 2]", range(400, 600)),
        (json.dumps({"prompt": "x", "max_tokens": "many"}), range(400, 500)),
        (json.dumps({"prompt": "word " * 20_000, "max_tokens": 1}), range(400, 500)),
        (json.dumps({"prompt": "x" * 2_000_000}), range(413, 414)),
    ],
    ids=["malformed", "not an object", "wrong type", "longer than the context", "oversized"],
)
def test_a_bad_request_is_refused_and_the_service_stays_up(client, made, body, expected):
    was = [pipeline.process.pid for pipeline in made.pipelines]
    status, _, answer = client.request("POST", "/v1/inference", body)
    assert status in expected, answer
    assert client.infer()[0] == 200
    assert all(pipeline.running for pipeline in made.pipelines)
    assert was == [pipeline.process.pid for pipeline in made.pipelines]


def test_slow_clients_do_not_keep_others_waiting(client, made):
    head = b"POST /v1/inference HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{"
    slow = [socket.create_connection((HOST, made.port)) for _ in range(100)]
    try:
        for one in slow:
            one.sendall(head)
        start = time.monotonic()
        assert client.infer()[0] == 200
        assert time.monotonic() - start < 5
    finally:
        for one in slow:
            one.close()


def test_a_client_that_does_not_read_its_stream_does_not_keep_others_waiting(client, made):
    connection = http.client.HTTPConnection(HOST, made.port, timeout=30)
    connection.request("POST", "/v1/inference", json.dumps({"prompt": "x", "max_tokens": 200, "stream": True}))
    try:
        assert client.infer()[0] == 200
        assert b"data: " in connection.getresponse().read1()
    finally:
        connection.close()


def test_a_pipeline_that_hangs_is_taken_out_within_the_check_interval(client, made):
    hung = made.pipelines[1].process
    hung.send_signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        wait_for(lambda: client.healthy() == 1, 10)
        assert time.monotonic() - start < 5, "two checks, each a second apart and a second long"
        assert statuses(client.users(2, each=2).result(timeout=60)) == {200: 4}
    finally:
        hung.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("member", ["coordinator", "pipeline 0"])
def test_metrics_are_prometheus(client, made, member):
    client.infer()
    program = find_program("promtool", target="test")
    command = [program, "check", "metrics"]
    # 3: it could be read, and some names are not as the style guide wants them.
    found = subprocess.run(command, input=client.metrics(member), capture_output=True, text=True, check=False)
    assert found.returncode in (0, 3), found.stdout + found.stderr


def test_what_the_autoscaler_asks_prometheus_has_an_answer(client, made, tmp_path):
    """The metric names are the engine's word; here the real proxy's numbers arrive under them."""
    workload = render(quick_dev(tmp_path), "dev", 2).workload
    client.infer()
    latency, requests = workload.latency, workload.requests
    for query in (workload.load_query, f"{requests.name}{requests.where}", f"{latency.name}_bucket{latency.where}"):
        wait_for(lambda query=query: asked(client, made, query), 20)


def test_an_alert_about_what_does_not_answer_stands_only_while_something_does_not(client, made):
    """The jobs here had other names than the cluster's, so that it stood for ever."""

    def states(of):
        answer = client.request("GET", "/api/v1/rules?type=alert", at=f"{HOST}:{made.observer.probe_port}")[2]
        rules = [rule for group in json.loads(answer)["data"]["groups"] for rule in group["rules"]]
        return {rule["state"] for rule in rules if rule["name"] == "ZigAiScrapeMissing" and of in rule["query"]}

    wait_for(lambda: states("up{") == {"inactive"}, 60)
    made.pipelines[0].process.kill()
    wait_for(lambda: states(names.SHARD) == {"pending"}, 60)
    assert states(names.COORDINATOR) == {"inactive"}
    made.pipelines[0].start()
    wait_for(lambda: states("up{") == {"inactive"}, 60)


GUIDES = (
    "rate(zig_ai_inference_requests_total[5m])",
    "histogram_quantile(0.95, rate(zig_ai_inference_duration_seconds_bucket[5m]))",
)


@pytest.mark.parametrize("query", GUIDES)
def test_the_guides_queries_have_an_answer_here_too(client, made, query):
    """The cluster's own rules rename the proxy's series."""

    def answered():
        client.infer()
        return [float(one["value"][1]) > 0 for one in asked(client, made, query)] == [True]

    wait_for(answered, 60)


def asked(client, made, query):
    path = f"/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    return json.loads(client.request("GET", path, at=f"{HOST}:{made.observer.probe_port}")[2])["data"]["result"]
