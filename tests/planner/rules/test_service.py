"""Layers, the load balancer, the nodes' kernel, targets, and what Azure sells."""

import pytest

from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import A100, findings, llama_cpp, settings

CASES = [
    (
        "LAYER-001",
        settings(
            sharding={
                "shardsCount": 8,
                "affinityRules": [{"key": "layers", "operator": "In", "values": ["0-24", "25-49", "50-74", "75-99"]}],
            }
        ),
        "sharding.affinityRules[0].values",
        "[0-24, 25-49, 50-74, 75-99] -> [0-19, 20-39, 40-59, 60-79]",
        "describe 100 layers, but llama-2-70b has 80",
        {"sharding": {"shardsCount": 8, "affinityRules": [{"key": "layers", "operator": "In", "values": ["0-39", "40-79"]}]}},
    ),
    (
        "LAYER-002",
        settings(sharding={"shardsCount": 8, "layersPerShard": 11}),
        "sharding.layersPerShard",
        "11 -> 10",
        "would hold 88 layers",
        {"sharding": {"shardsCount": 8, "layersPerShard": 10}},
    ),
    (
        "LAYER-003",
        settings(sharding={"shardsCount": 9}),
        "sharding.shardsCount",
        "9 -> 9",
        "9, 9, 9, 9, 9, 9, 9, 9, 8",
        {"sharding": {"shardsCount": 10}},
    ),
    (
        "LB-001",
        settings(coordinator={"service": {"annotations": {"service.beta.kubernetes.io/azure-load-balancer-sku": "Standard"}}}),
        "coordinator.service.annotations.service.beta.kubernetes.io/azure-load-balancer-sku",
        "Standard -> the cluster's networkProfile.loadBalancerSku: standard",
        "does not read it",
        {"coordinator": {"service": {"annotations": {"service.beta.kubernetes.io/azure-dns-label-name": "llm"}}}},
    ),
    (
        "LB-002",
        settings(),
        "coordinator.config.loadBalancingStrategy",
        "least_connections -> least_connections",
        "only hashes",
        {"coordinator": {"service": {"type": "ClusterIP"}}},
    ),
    ("TARGET-001", settings(), "targets.latency", "2s -> 2s", "8.2 s for 100 tokens at best", {"targets": {"latency": "9s"}}),
    (
        "TARGET-002",
        llama_cpp(),
        "targets.throughputRps",
        "100.0 -> 100.0",
        "32,000 words in 0.20 ms (measured): 50 requests/s of 100 tokens at best with 1 pipeline",
        {"targets": {"throughputRps": 50}},
    ),
    (
        "SIZE-001",
        settings(),
        "gpuPool.vmSize",
        "Standard_NC24s_v3 -> Standard_NC24s_v3",
        "gpuPool: {vmSize: Standard_NC24ads_A100_v4}",
        {"gpuPool": A100},
    ),
    (
        "SIZE-002",
        settings(gpuPool={"vmSize": "Standard_ND128isr_NDR_GB200_v6"}),
        "gpuPool.vmSize",
        "Standard_ND128isr_NDR_GB200_v6 -> Standard_ND128isr_NDR_GB200_v6",
        "Arm64 CPUs (NVIDIA Grace)",
        {"gpuPool": A100},
    ),
    (
        "REACH-001",
        settings(),
        "cluster.authorizedIpRanges",
        "[] -> []",
        "every address",
        {"cluster": {"authorizedIpRanges": ["20.1.2.0/24"]}},
    ),
    (
        "REACH-004",
        settings(),
        "cluster.zones",
        "[1, 2, 3] -> [1, 2, 3]",
        "renews a login, or reaches the API server",
        {"cluster": {"zones": ["1"]}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


def test_an_annotation_that_nobody_knows_is_not_supported():
    asked = settings(coordinator={"service": {"annotations": {"service.beta.kubernetes.io/azure-load-balancer-skew": "Standard"}}})
    [found] = [finding for finding in findings(asked) if finding.code == "LB-001"]
    assert (found.outcome, found.given) == ("not supported", "nothing")


def test_kernel_settings_are_translated():
    found = {finding.key for finding in findings(settings()) if finding.code == "NODE-001"}
    assert found == {"nodeTuning.hugePages2Mi", "nodeTuning.overcommitMemory"}
