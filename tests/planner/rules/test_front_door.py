"""The proxy: its memory, its end, and who may reach it."""

import json

import pytest

from planner import plan
from planner.fit import proxy_memory
from settings import SettingsError
from settings.files import ROOT
from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import PUBLIC, findings, llama_cpp, settings

CASES = [
    (
        "PROXY-001",
        llama_cpp(),
        "coordinator.resources.limits.memory",
        "12Gi -> 2Gi",
        "the proxy needs 1.1 GiB for 2,000 connections and 600 requests of 1MB at once; it has no cache of answers to hold",
        {"coordinator": {"resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "5Gi"}}}},
    ),
    (
        "PROXY-003",
        settings(engine="vllm", model={"name": "llama-3.1-8b"}, gpuPool={"vmSize": "Standard_NC40ads_H100_v5"}),
        "coordinator.limits.requestSize",
        "1MB -> 2MB",
        "tokens, and a token of Chinese text takes up to 10 bytes as clients escape it",
        {"coordinator": {"limits": {"requestSize": "2MB"}}},
    ),
    (
        "ROLL-001",
        llama_cpp(rollout={"terminationGrace": "20s"}),
        "rollout.terminationGrace",
        "20s -> 20s",
        "the requests of the last 12 s reach a pod that is stopping or gone",
        {"rollout": {"terminationGrace": "15m"}},
    ),
    (
        "REACH-002",
        llama_cpp(exposure=PUBLIC),
        "exposure.public",
        "true -> true",
        "as plain text",
        {"exposure": PUBLIC | {"tls": {"secretName": "front-door"}}},
    ),
    (
        "REACH-003",
        settings(exposure=PUBLIC),
        "exposure.public",
        "true -> true",
        "without a name and without a limit for each client",
        {"exposure": {"public": False}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


@pytest.mark.parametrize("lock", [{"apiKeys": {"secretName": "keys"}}, {"tls": {"secretName": "cert"}}], ids=["keys", "TLS"])
def test_a_lock_that_the_engine_does_not_have_is_refused(lock):
    """Whoever relied on it would stand open: no note in a table would be enough."""
    [name] = lock
    with pytest.raises(SettingsError) as refused:
        plan(settings(exposure=lock, sizing={"mode": "verbatim"}))
    [problem] = refused.value.problems
    assert problem.key == f"exposure.{name}.secretName" and "answer everybody" in problem.consequence
    assert not [one for one in findings(llama_cpp(exposure=lock)) if one.key.startswith("exposure")]


@pytest.mark.parametrize("lock", [{"apiKeys": {"secretName": "keys"}}, {"tls": {"secretName": "cert", "clientCaSecretName": "ca"}}])
def test_a_key_or_a_certificate_is_a_sign_in(lock):
    assert "REACH-003" not in {one.code for one in findings(llama_cpp(exposure=PUBLIC | {"tls": {"secretName": "cert"}} | lock))}


def test_a_proxy_gets_no_less_than_its_limits_let_in():
    tight = {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}, "limits": {"requestSize": "4MB"}}
    [found] = [one for one in findings(llama_cpp(coordinator=tight)) if one.key == "coordinator.resources.limits.memory"]
    assert (found.code, found.given) == ("PROXY-001", "5Gi") and "would refuse requests" in found.because
    assert "PROXY-001" not in {one.code for one in findings(settings())}, "another coordinator has a cache to hold"


def test_the_proxys_memory_is_what_was_measured():
    measured = json.loads((ROOT / proxy_memory.SOURCE).read_text())
    assert measured["mib"]["idle"] == pytest.approx(proxy_memory.IDLE_MIB, rel=0.05)
    assert measured["kib_a_connection"] == pytest.approx(proxy_memory.CONNECTION_KIB, rel=0.05)
    assert measured["kib_a_request"] == pytest.approx(proxy_memory.REQUEST_KIB, rel=0.05)
    assert measured["bytes_a_body_byte"] == pytest.approx(proxy_memory.BYTES_A_BODY_BYTE, rel=0.05)
