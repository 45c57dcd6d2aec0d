"""CPU, memory, huge pages and zones of the nodes."""

import pytest

from planner import plan
from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import A100, GUIDE_SHARD, HARD_OVER_ZONES, resources, settings, shard, verbatim

FITTED = resources("5", "109Gi")
CASES = [
    (
        "PLACE-001",
        settings(gpuPool=A100),
        "shard.nodeSelector.node.kubernetes.io/instance-type",
        "Standard_NC24s_v3 -> Standard_NC24ads_A100_v4",
        "every shard would stay Pending",
        {"gpuPool": {"vmSize": "Standard_NC24s_v3"}},
    ),
    ("PLACE-002", settings(), "shard.resources.requests.cpu", "16 -> 5", "leaves 3 of its 4 GPUs idle", {"shard": FITTED}),
    ("PLACE-003", settings(), "shard.resources.limits.cpu", "32 -> 5", "has 24 CPUs", {"shard": FITTED}),
    (
        "PLACE-004",
        settings(),
        "shard.resources.limits.memory",
        "128Gi -> 109Gi",
        "could together use 512 GiB of a Standard_NC24s_v3's 448",
        {"shard": FITTED},
    ),
    (
        "PLACE-005",
        settings(shard=resources("4", "64Gi", limit_memory="96Gi")),
        "shard.resources.requests.memory",
        "64Gi -> 96Gi",
        "Guaranteed",
        {"shard": resources("4", "64Gi")},
    ),
    (
        "PLACE-006",
        settings(shard=GUIDE_SHARD | {"topologySpreadConstraints": [HARD_OVER_ZONES]}),
        "shard.topologySpreadConstraints[0].topologyKey",
        "topology.kubernetes.io/zone -> pipelines are spread over zones, the shards of one pipeline stay in one",
        "7 trips between zones",
        {"gpuPool": {"zones": ["1"]}},
    ),
    (
        "PLACE-007",
        settings(gpuPool={"cpuManagerPolicy": "none"}),
        "gpuPool.cpuManagerPolicy",
        "none -> static",
        "threadPinning",
        {"shard": shard(threadPinning=False)},
    ),
    (
        "PLACE-008",
        verbatim(gpuPool={"maxNodes": 7}),
        "gpuPool.maxNodes",
        "7 -> 7",
        "1 of 8 shards stay Pending",
        {"gpuPool": {"maxNodes": 8}},
    ),
    (
        "NODE-002",
        settings(nodeTuning={"hugePages2Mi": 0}),
        "shard.config.useHugePages",
        "true -> false",
        "sets none aside",
        {"nodeTuning": {"hugePages2Mi": 1}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


def test_limits_alone_make_a_guaranteed_pod():
    """Kubernetes takes the limit for a request that is not set; `strict` refused such a stack with "requests of not set"."""
    limits = {"resources": {"limits": {"nvidia.com/gpu": 1, "cpu": "6", "memory": "64Gi"}}}
    made = plan(settings(shard=limits, gpuPool={"vmSize": "Standard_NC48ads_A100_v4"}))
    assert not [finding for finding in made.findings if finding.key.startswith("shard.resources")]
    assert {made.pod.set_aside[name] for name in ("cpu", "memory")} == {"6", "64Gi"}
