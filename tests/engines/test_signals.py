"""What the real Prometheus makes of the real proxy's counts, with known loads."""

import concurrent.futures
import contextlib
import http.client
import json
import statistics
import time

import pytest

from engines.envoy.coordinator import LOAD_QUERY
from infra.kubernetes.monitoring.prometheus_rules import rules_yaml
from settings.quantities import Duration
from tests.engines.envoy.proxy import COMPLETION, arguments, pipelines, running, wait_for
from tests.infra.kubernetes.conftest import changed, make_plan, render, settings_of
from tests.observer import observing

pytestmark = pytest.mark.process

ALERT = "ZigAiLatencyAboveTarget"
ALL_ENDED = 'envoy_http_downstream_rq_completed{envoy_http_conn_manager_prefix="coordinator"}'


def took(proxy, seconds):
    """What a request took whose answer takes so long."""
    start = time.monotonic()
    assert proxy.request("POST", "/v1/inference", json.dumps({"prompt": "x", "seconds": seconds}))[0] == 200
    return time.monotonic() - start


def test_the_95th_percentile_is_right_and_the_alert_stands_only_while_the_target_is_missed(tmp_path):
    """With Envoy's own bounds, of 1 and 2.5 s, answers in 1.26 s had a 95th percentile of 2.4 s, and the alert stood for ever."""
    dev = make_plan(changed(settings_of("dev"), "targets", latency=Duration("2s")))
    rules = rules_yaml(dev, render(dev.settings, dev))

    with pipelines(0) as made, running(arguments(*made, target_s=2), made, tmp_path) as proxy:
        counted(proxy, lambda: [took(proxy, 1.26)])
        with observing({"inference": [f"127.0.0.1:{proxy.metrics_port}"]}, rules, tmp_path) as observer:

            def p95_of(answers, seconds):
                """The 95th percentile that Prometheus gives for what the clients saw, with ten more answers."""
                with concurrent.futures.ThreadPoolExecutor(10) as pool:
                    answers += counted(proxy, lambda: list(pool.map(lambda _: took(proxy, seconds), range(10))))
                observer.has_read()
                [seen] = observer.values("zig_ai:inference_latency_seconds:p95")
                return seen / statistics.quantiles(answers, n=20, method="inclusive")[-1]

            answers = []
            assert p95_of(answers, 1.26) == pytest.approx(1, abs=0.1)
            assert observer.state(ALERT) == "inactive"
            assert p95_of(answers, 2.15) == pytest.approx(1, abs=0.1)
            assert observer.state(ALERT) == "pending"


def test_who_is_refused_at_once_makes_neither_the_95th_percentile_nor_the_throughput_better(tmp_path):
    """Twenty refusals for an answer made a service that kept nobody's target look as if it answered in a millisecond, and much."""
    dev = make_plan(changed(settings_of("dev"), "targets", latency=Duration("1s")))
    rules = rules_yaml(dev, render(dev.settings, dev))
    with (
        pipelines(0) as made,
        running(arguments(*made, target_s=1, upstream={"pool_size": 1, "waiting": 1}), made, tmp_path) as proxy,
        observing({"inference": [f"127.0.0.1:{proxy.metrics_port}"]}, rules, tmp_path) as observer,
        concurrent.futures.ThreadPoolExecutor(2) as pool,
    ):
        before = requests_counted(proxy)
        answers = [pool.submit(took, proxy, 3)]
        wait_for(lambda: proxy.gauge("upstream_rq_active") == 1, 30)
        answers.append(pool.submit(took, proxy, 3))
        wait_for(lambda: proxy.gauge("upstream_rq_pending_active") == 1, 30)
        refused = [proxy.infer()[0] for _ in range(20)] + [proxy.request("GET", "/nowhere")[0] for _ in range(20)]
        assert refused == [503] * 20 + [404] * 20
        assert min(answer.result() for answer in answers) >= 3
        wait_for(lambda: requests_counted(proxy) == before + 42, 30)
        observer.has_read()
        [p95] = observer.values("zig_ai:inference_latency_seconds:p95")
        assert p95 > 2.7 and observer.state(ALERT) == "pending"
        [answered], [ended] = (observer.values(query) for query in ("zig_ai:throughput_rps", "sum(rate(" + ALL_ENDED + "[5m]))"))
        assert 0 < answered < ended / 10


def counted(proxy, load):
    """What the load's requests took, once the proxy's histogram has them: it is brought up to date every 5 seconds."""
    before = requests_counted(proxy)
    answers = load()
    wait_for(lambda: requests_counted(proxy) == before + len(answers), 30)
    return answers


def requests_counted(proxy):
    text = proxy.request("GET", "/metrics", port=proxy.metrics_port)[2].decode()
    name = 'envoy_http_downstream_rq_time_count{envoy_http_conn_manager_prefix="coordinator"} '
    return sum(int(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


def asking(proxy, count, held):
    """So many requests that are not answered yet."""
    for _ in range(count):
        connection = held.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", proxy.port)))
        connection.request("POST", "/v1/inference", COMPLETION)


def test_the_autoscaler_counts_all_requests_in_flight_of_all_coordinators_and_nothing_else(tmp_path):
    """Those that run and those that wait for a connection; not what has been answered, nor health checks and the reading of metrics."""
    folders = [tmp_path / name for name in ("one", "other", "observer")]
    for folder in folders:
        folder.mkdir()
    with contextlib.ExitStack() as held:
        made = held.enter_context(pipelines(60))
        few = {"pool_size": 1}
        proxies = [held.enter_context(running(arguments(*made, upstream=few), made, folder)) for folder in folders[:2]]
        targets = [f"127.0.0.1:{proxy.metrics_port}" for proxy in proxies]
        observer = held.enter_context(observing({"inference": targets}, "groups: []", folders[2]))
        assert observer.values(LOAD_QUERY) == [0]
        for proxy, count in zip(proxies, (3, 4), strict=True):
            asking(proxy, count, held)
            assert proxy.request("GET", "/api/v1/health")[0] == 200
        wait_for(lambda: [proxy.gauge("upstream_rq_pending_active") for proxy in proxies] == [2, 3], 30)
        observer.has_read()
        assert observer.values(LOAD_QUERY) == [7]


def test_who_is_refused_by_a_full_line_counts_for_the_autoscaler_too(tmp_path):
    """Told to come back after a second: of a crowd that does, as many are away as are refused in one."""
    with pipelines(60) as made, contextlib.ExitStack() as held:
        proxy = held.enter_context(running(arguments(*made, upstream={"pool_size": 1, "waiting": 1}), made, tmp_path))
        observer = held.enter_context(observing({"inference": [f"127.0.0.1:{proxy.metrics_port}"]}, "groups: []", tmp_path))
        for there in ("upstream_rq_active", "upstream_rq_pending_active"):
            asking(proxy, 1, held)
            wait_for(lambda there=there: proxy.gauge(there) == 1, 30)
        assert {proxy.infer()[0] for _ in range(60)} == {503}
        observer.has_read()
        [load] = observer.values(LOAD_QUERY)
    assert load > 2.5, "two that are there, and sixty refusals in the last minute"
