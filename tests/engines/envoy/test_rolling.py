"""What a rolling change of either side costs a client: nothing."""

import collections
import contextlib
import http.client
import json
import threading
import time

import pytest

from tests.engines.envoy.proxy import COMPLETION, arguments, pipelines, running, wait_for

pytestmark = pytest.mark.process


def stream(port, tokens):
    """The connection and answer of a stream whose first token is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps({"prompt": "x", "stream": True, "max_tokens": tokens}))
    answer = connection.getresponse()
    assert answer.read1().startswith(b"data: 0\n")
    return connection, answer


@contextlib.contextmanager
def users(proxy, count):
    """So many ask all the time; the list has the status of each answer."""
    ended, found = threading.Event(), []

    def user():
        while not ended.is_set():
            found.append(proxy.infer()[0])

    threads = [threading.Thread(target=user) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_rolling_change_of_the_pipelines_loses_and_delays_no_request(tmp_path):
    """A pipeline that was told to end keeps its connections and answers nothing: a request that met it then would wait until it is
    killed or `silence_s` are over, and be lost."""
    with pipelines(0.05, 0.05) as made, running(arguments(*made, silence_s=30), made, tmp_path) as proxy, users(proxy, 8) as found:
        for pipeline in made:
            pipeline.replace(serving_on=5, ending=3)
            wait_for(lambda: proxy.healthy == 2, 20)
        time.sleep(1)
        sent_anew = proxy.gauge("upstream_rq_retry")
    assert collections.Counter(found) == {200: len(found)} and len(found) > 100
    assert sent_anew == 0


def test_a_stream_is_finished_by_the_pipeline_that_is_about_to_end(tmp_path):
    with pipelines(0.5) as made, running(arguments(*made), made, tmp_path) as proxy:
        connection, answer = stream(proxy.port, tokens=12)
        with contextlib.closing(connection):
            made[0].published = False
            wait_for(lambda: proxy.gauge("membership_total") == 0, 10)
            assert proxy.infer()[0] == 503, "no new request goes to it"
            assert b"data: 11\n" in answer.read()


@pytest.mark.parametrize("lost", [True, False], ids=["DNS gone", "no pipeline in it"])
def test_without_an_answer_of_the_dns_the_pipelines_stay_and_without_pipelines_it_says_so(lost, tmp_path):
    with pipelines(0.05) as made, running(arguments(*made), made, tmp_path) as proxy:
        if lost:
            proxy.names.close()
            time.sleep(6)
            assert (proxy.infer()[0], proxy.health) == (200, 200)
        else:
            made[0].published = False
            wait_for(lambda: proxy.health == 503, 10)


def test_a_new_pipeline_is_found_by_its_name(tmp_path):
    with pipelines(0.05, 0.05) as made, running(arguments(*made), made, tmp_path) as proxy:
        made[1].published = False
        wait_for(lambda: proxy.gauge("membership_total") == 1, 10)
        made[1].published = True
        wait_for(lambda: proxy.healthy == 2, 10)


def test_connections_move_on_while_a_coordinator_serves_on(tmp_path):
    """A client that keeps its connection would send requests until the process ends, and lose the last one."""
    with pipelines(0.05) as made, running(arguments(*made, connection_s=3), made, tmp_path) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
        with contextlib.closing(connection):
            said = []
            while "close" not in said:
                assert len(said) < 100, "it keeps its client for ever"
                connection.request("POST", "/v1/inference", COMPLETION)
                answer = connection.getresponse()
                assert answer.status == 200 and answer.read()
                said.append(answer.getheader("connection"))
                time.sleep(0.1)
    assert said[0] is None, "it keeps its connection for a while"


def test_a_stream_outlives_the_time_of_its_connection(tmp_path):
    with pipelines(0.5) as made, running(arguments(*made, connection_s=1), made, tmp_path) as proxy:
        connection, answer = stream(proxy.port, tokens=8)
        with contextlib.closing(connection):
            assert b"data: 7\n" in answer.read()
