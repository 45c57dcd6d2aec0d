"""The coordinator's configuration in the real proxy, before servers that do what the tests need."""

import collections
import contextlib
import http.client
import json
import re
import threading
import time

import pytest

from tests.engines.envoy.proxy import arguments, pipelines, running, wait_for

pytestmark = pytest.mark.process


@pytest.fixture
def two():
    """Two pipelines alike."""
    with pipelines(0.05, 0.05) as made:
        yield made


def test_the_guides_request_becomes_a_completion_and_the_rest_passes_through(two, tmp_path):
    with running(arguments(*two), two, tmp_path) as proxy:
        code, _, body = proxy.infer()
        assert code == 200
        assert json.loads(body)["path"] == "/v1/completions"
        assert json.loads(body)["prompt"] == "The future of artificial intelligence is"
        assert json.loads(proxy.request("GET", "/v1/models")[2])["path"] == "/v1/models"
        assert proxy.request("GET", "/metrics")[0] == 404, "nothing but the service on the service's port"


def test_its_own_metrics_are_prometheus(two, tmp_path):
    with running(arguments(*two), two, tmp_path) as proxy:
        proxy.infer()
        code, _, text = proxy.request("GET", "/metrics", port=proxy.metrics_port)
        assert code == 200
        assert 'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="pipelines"}' in text.decode()
        assert "envoy_cluster_upstream_rq_time_bucket" in text.decode()


def test_least_connections_prefers_the_free_pipeline(tmp_path):
    with pipelines(2, 0.01) as made, running(arguments(*made), made, tmp_path) as proxy:
        slow, quick = made
        answers = collections.Counter(json.loads(body)["address"] for _, _, body in proxy.load(users=8, each=8))
    # In turns each would have as many.
    assert answers[quick.address] > 1.25 * answers[slow.address]


def test_round_robin_takes_turns(two, tmp_path):
    with running(arguments(*two, upstream={"strategy": "round_robin"}), two, tmp_path) as proxy:
        answers = collections.Counter(json.loads(proxy.infer()[2])["address"] for _ in range(40))
    assert answers == {two[0].address: 20, two[1].address: 20}


def test_a_pipeline_that_hangs_is_taken_out_and_keeps_only_the_requests_that_it_had(two, tmp_path):
    with running(arguments(*two, silence_s=2), two, tmp_path) as proxy:
        two[0].hang()
        statuses = collections.Counter(code for code, _, _ in proxy.load(users=10, each=2))
        assert set(statuses) == {200, 504} and statuses[504] <= 10
        assert {proxy.infer()[0] for _ in range(20)} == {200}, "nothing is sent to it any more"


def test_a_pipeline_that_still_loads_costs_no_request(tmp_path):
    with pipelines(-1, 0.05) as made, running(arguments(*made), made, tmp_path) as proxy:
        answers = proxy.load(users=3, each=5)
    assert collections.Counter(code for code, _, _ in answers) == {200: 15}


def test_without_a_healthy_pipeline_it_says_so(two, tmp_path):
    """And with one it says that, not in the form of a refusal."""
    with running(arguments(*two), two, tmp_path) as proxy:
        for path in ("/api/v1/health", "/health"):
            assert json.loads(proxy.request("GET", path)[2]) == {"status": "healthy"}
        assert proxy.request("GET", "/xhealth")[0] == 404
        for pipeline in two:
            pipeline.kill()
        wait_for(lambda: proxy.health == 503, 10)
        for refused in (proxy.request("GET", "/api/v1/health"), proxy.infer()):
            message = json.loads(refused[2])["error"]["message"]
            assert refused[0] == 503 and re.match("No pipeline is ready|No connection to a pipeline could be opened", message)


def test_requests_wait_in_line_and_are_refused_beyond_it(tmp_path):
    """Until a connection is open its request waits too: of a burst no fewer than the queue are served."""
    with pipelines(1.0, 1.0) as two, running(arguments(*two, upstream={"at_once": 2, "waiting": 6}), two, tmp_path) as proxy:
        answers = proxy.load(users=40, each=1)
        statuses = collections.Counter(code for code, _, _ in answers)
        assert set(statuses) == {200, 503} and statuses[200] >= 6
        refused = [(headers.get("retry-after"), json.loads(body)["error"]) for code, headers, body in answers if code == 503]
        assert all(after == "1" and "try again" in error["message"] for after, error in refused)
        assert max(two[0].most, two[1].most) <= 2
        assert proxy.gauge("upstream_rq_total") == statuses[200], "what was refused reached no pipeline, and nothing was begun twice"


def test_a_request_that_waits_is_not_silent(tmp_path):
    """A pipeline gets no more than it runs at once, and those in line wait for as long as it takes: longer than a silence may be."""
    with pipelines(0.5, 0.5) as two, running(arguments(*two, silence_s=1.5, upstream={"at_once": 1}), two, tmp_path) as proxy:
        start = time.monotonic()
        assert collections.Counter(code for code, _, _ in proxy.load(users=12, each=1)) == {200: 12}
        assert time.monotonic() - start > 2, "some waited for longer"
        assert (two[0].most, two[1].most, proxy.gauge("upstream_rq_total")) == (1, 1, 12)


def test_a_client_that_leaves_the_line_costs_no_pipeline_anything(tmp_path):
    with pipelines(1.0) as made, running(arguments(*made, upstream={"at_once": 1}), made, tmp_path) as proxy:
        busy = threading.Thread(target=proxy.infer)
        busy.start()
        wait_for(lambda: proxy.gauge("upstream_rq_active") == 1, 10)
        for _ in range(5):
            waiting = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
            waiting.request("POST", "/v1/completions", json.dumps({"prompt": "x"}))
            waiting.close()
        busy.join()
        assert proxy.infer()[0] == 200
        assert proxy.gauge("upstream_rq_total") == 2


def test_one_slow_answer_takes_no_pipeline_out(tmp_path):
    with pipelines(0.01, 0.01) as two, running(arguments(*two, silence_s=1), two, tmp_path) as proxy:
        code, _, _ = proxy.request("POST", "/v1/completions", json.dumps({"prompt": "x", "seconds": 3}))
        assert (code, proxy.healthy, proxy.gauge("outlier_detection_ejections_total")) == (504, 2, 0)


def test_a_pipeline_that_answers_its_health_check_and_nothing_else_is_left_out(tmp_path):
    with pipelines(60, 0.01) as two, running(arguments(*two, silence_s=1, upstream={"health_interval_s": 2}), two, tmp_path) as proxy:
        assert collections.Counter(code for code, _, _ in proxy.load(users=20, each=1))[504] >= 5
        wait_for(lambda: proxy.healthy == 1, 5)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert proxy.infer()[0] == 200, "the health checks that it passed meanwhile did not bring it back"


def test_a_silent_answer_is_given_up_once(tmp_path):
    with pipelines(30, 30) as two, running(arguments(*two, silence_s=1), two, tmp_path) as proxy:
        code, headers, body = proxy.infer()
        assert code == 504 and headers["x-should-retry"] == "false" and "sent nothing" in json.loads(body)["error"]["message"]
        assert proxy.gauge("upstream_rq_total") == 1


def test_a_request_too_large_is_refused_and_the_service_stays_up(two, tmp_path):
    with running(arguments(*two, max_request_bytes=1000), two, tmp_path) as proxy:
        assert proxy.request("POST", "/v1/inference", json.dumps({"prompt": "x" * 2000}))[0] == 413
        assert proxy.infer()[0] == 200


def test_more_clients_than_connections_are_turned_away(two, tmp_path):
    with running(arguments(*two, max_connections=3), two, tmp_path) as proxy, contextlib.ExitStack() as held:
        for _ in range(3):
            connection = held.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)))
            connection.request("GET", "/v1/models")
            assert connection.getresponse().read()
        with pytest.raises(OSError):
            proxy.request("GET", "/v1/models")
        assert proxy.request("GET", "/ready", port=proxy.metrics_port)[0] == 200, "a probe is no client"


def test_a_stream_arrives_as_it_is_made(tmp_path):
    with pipelines(0.3) as made, running(arguments(*made, keep_alive_s=1), made, tmp_path) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/completions", json.dumps({"prompt": "x", "stream": True, "max_tokens": 4}))
            answer = connection.getresponse()
            first = answer.read1()
            start = time.monotonic()
            rest = answer.read()
    assert first.startswith(b"data: 0") and b"data: 3" in rest
    assert time.monotonic() - start > 0.5, "the first token did not wait for the last"
