"""A request that ends the server which reads it: it costs one pipeline, whoever sends it and however it is sent."""

import collections
import json
import threading
import time

import openai
import pytest

from tests.engines.envoy.proxy import arguments, pipelines, running, wait_for

pytestmark = pytest.mark.process

DEADLY = json.dumps({"prompt": "x", "max_tokens": 1, "deadly": True})


def dead(made):
    """How many have ended; the first may take a moment to end after its connections have."""
    wait_for(lambda: any(pipeline.process.poll() is not None for pipeline in made), 20)
    return sum(pipeline.process.poll() is not None for pipeline in made)


@pytest.fixture
def four():
    with pipelines(0.05, 0.05, 0.05, 0.05) as made:
        yield made


def test_it_is_never_sent_to_a_second_pipeline(four, tmp_path):
    with running(arguments(*four), four, tmp_path) as proxy:
        code, headers, body = proxy.request("POST", "/v1/completions", DEADLY)
        assert dead(four) == 1
        assert code == 502 and headers["x-should-retry"] == "false"
        error = json.loads(body)["error"]
        assert error["code"] == 502 and "ended before it answered" in error["message"]
        assert {proxy.infer()[0] for _ in range(20)} == {200}
        assert proxy.health == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_openai_package_does_not_send_it_again(stream, four, tmp_path):
    with (
        running(arguments(*four), four, tmp_path) as proxy,
        openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key="none", max_retries=2, timeout=30) as client,
        pytest.raises(openai.APIStatusError, match="ended before it answered"),
    ):
        client.completions.create(model="any", prompt="x", stream=stream, extra_body={"deadly": True})
    assert dead(four) == 1


def test_no_header_of_a_client_has_it_sent_again(four, tmp_path):
    """Envoy takes its own instructions from headers too, where it takes a client for one of the house."""
    asked = {"x-envoy-retry-on": "5xx,reset", "x-envoy-max-retries": "9", "x-envoy-hedge-on-per-try-timeout": "true"}
    with running(arguments(*four), four, tmp_path) as proxy:
        assert proxy.request("POST", "/v1/completions", DEADLY, **asked)[0] == 502
        assert dead(four) == 1


def test_a_killed_pipeline_loses_what_it_had_and_nothing_else(tmp_path):
    """Those that come later find the other, though the killed one is still in the DNS and not yet found out by a check."""
    with pipelines(0.3, 0.3) as two, running(arguments(*two, upstream={"health_interval_s": 60}), two, tmp_path) as proxy:
        found = []
        load = threading.Thread(target=lambda: found.extend(proxy.load(users=20, each=6)))
        load.start()
        wait_for(lambda: proxy.gauge("upstream_rq_active") == 20, 10)
        two[0].kill()
        load.join()
    statuses = collections.Counter(code for code, _, _ in found)
    assert set(statuses) == {200, 502} and statuses[502] <= 20 and sum(statuses.values()) == 120


def test_a_pipeline_that_refuses_connections_costs_no_request(tmp_path):
    with pipelines(0.05, 0.05) as two, running(arguments(*two, upstream={"health_interval_s": 60}), two, tmp_path) as proxy:
        assert {proxy.infer()[0] for _ in range(6)} == {200}
        two[0].kill()
        time.sleep(0.2)
        assert collections.Counter(code for code, _, _ in proxy.load(users=4, each=5)) == {200: 20}
