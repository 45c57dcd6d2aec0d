"""How long a request may be silent and how many may wait, by what the pipelines do."""

import re

import pytest

from planner import plan
from planner.rules import waiting
from planner.rules.rule import RuleContext
from settings.flatten import with_values
from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import findings, llama_cpp, settings, shard

CASES = [
    (
        "NET-001",
        llama_cpp(),
        "shard.config.networkTimeout",
        "30s -> 10m",
        "s with the 4,096 tokens that a request may have, by the slow end",
        {"shard": shard(networkTimeout="10m")},
    ),
    (
        "PROXY-002",
        llama_cpp(),
        "coordinator.limits.queuedRequests",
        "1000 -> 76",
        "requests/s, so the last of 1,024 (this number, and as many as the pipelines run at once) would wait",
        {"coordinator": {"limits": {"queuedRequests": 70}}},
    ),
    (
        "NET-002",
        llama_cpp(loadTest={"concurrentUsers": 200}),
        "loadTest.concurrentUsers",
        "200 -> 200",
        "the load test's client gives up after 60 s",
        {"loadTest": {"concurrentUsers": 50}},
    ),
    (
        "ROLL-001",
        llama_cpp(),
        "rollout.terminationGrace",
        "120s -> 120s",
        "what it has not answered 115 s after it was asked to stop is cut off",
        {"rollout": {"terminationGrace": "15m"}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


def full(stack):
    made = plan(stack)
    return waiting.full_load(RuleContext(settings=made.settings, size=made.size, gpu=made.gpu, shape=made.shape))


def test_a_request_that_waits_in_a_full_pipeline_is_not_given_up():
    """The load test's answers, and the longest, of a pipeline that two coordinators have filled."""
    made = plan(llama_cpp())
    known = full(llama_cpp())
    assert made.settings.shard.config.network_timeout.seconds >= known.longest_s + known.request_s
    assert known.longest_s > known.request_s > 10


def test_the_load_tests_users_have_room_and_who_is_beyond_it_is_answered_within_the_wait():
    crowd = plan(llama_cpp(loadTest={"concurrentUsers": 700}))
    assert crowd.waiting_requests == 700
    assert crowd.settings.coordinator.limits.queued_requests == 700 - crowd.requests_at_once
    quick = llama_cpp(sharding={"shardsCount": 8, "pipelines": 4})
    assert plan(quick).waiting_requests == pytest.approx(full(quick).requests_s * waiting.WAIT_S, abs=1)


def test_who_comes_to_free_pipelines_has_room_beside_those_who_may_wait():
    """To the proxy a request whose connection is being opened is one that waits: of a burst, the pipelines' own part was refused."""
    made = plan(llama_cpp(sharding={"shardsCount": 8, "pipelines": 4}, coordinator={"limits": {"queuedRequests": 5}}))
    assert made.waiting_requests == 5 + 4 * made.requests_at_once
    narrow = plan(llama_cpp(coordinator={"config": {"connectionPoolSize": 3}, "limits": {"queuedRequests": 5}}))
    assert narrow.waiting_requests == 5 + 3 < 5 + narrow.requests_at_once, "no more can run than have a connection"


def test_so_many_pipelines_as_are_said_answer_everybody_in_time():
    asked = llama_cpp(loadTest={"concurrentUsers": 200})
    [said] = [one for one in findings(asked) if one.code == "NET-002"]
    count = int(re.search(r"sharding\.pipelines: (\d+)", said.because)[1])

    def silent(pipelines):
        return not [one for one in findings(with_values(asked, {("sharding", "pipelines"): pipelines})) if one.code == "NET-002"]

    assert count > 1 and silent(count) and not silent(count - 1)


def test_a_coordinator_of_ones_own_has_times_of_its_own():
    assert not {"NET-001", "PROXY-002"} & {one.code for one in findings(settings())}
