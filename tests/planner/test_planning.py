"""The plan of a stack: layers, pods, nodes, and what is refused."""

import json

import pytest

from planner import catalogue, plan
from planner.layers import split_layers
from planner.reservations import reserved_cpu_millicores, reserved_memory_mib
from settings import SettingsError, StackSettings

GUIDE_SHARD = {
    "resources": {
        "requests": {"nvidia.com/gpu": 1, "memory": "64Gi", "cpu": "16"},
        "limits": {"nvidia.com/gpu": 1, "memory": "128Gi", "cpu": "32"},
    },
    "nodeSelector": {"node.kubernetes.io/instance-type": "Standard_NC24s_v3"},
}


def settings(**sections) -> StackSettings:
    sections = {"shard": GUIDE_SHARD, "sharding": {"shardsCount": 8, "layersPerShard": 10}} | sections
    return StackSettings.model_validate_json(json.dumps(sections))


def refusals(**sections) -> dict[str, str]:
    with pytest.raises(SettingsError) as error:
        plan(settings(**sections))
    return {problem.key: f"{problem.value} {problem.consequence} {problem.fix}" for problem in error.value.problems}


def finding_of(code: str, settings: StackSettings):
    (found,) = [finding for finding in plan(settings).findings if finding.code == code]
    return found


def test_an_open_api_server_is_said_and_a_closed_one_is_not():
    assert "every address" in finding_of("REACH-001", settings()).because
    for cluster in ({"private": True}, {"authorizedIpRanges": ["20.1.2.0/24"]}):
        assert "REACH-001" not in {finding.code for finding in plan(settings(cluster=cluster)).findings}


def test_the_guides_shard_fills_a_node_so_eight_need_eight():
    made = plan(settings())
    assert [shard.layer_range for shard in made.shards] == ["0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70-79"]
    assert (made.gpu_pool.nodes, made.gpu_pool.min_nodes, made.gpu_pool.max_nodes) == (8, 8, 8)
    assert made.pod.requests == {"nvidia.com/gpu": "1", "memory": "64Gi", "cpu": "16", "hugepages-2Mi": "2048Mi"}
    assert made.pod.limits["hugepages-2Mi"] == made.pod.requests["hugepages-2Mi"]


def test_smaller_shards_share_a_node_and_its_huge_pages():
    small = {"resources": {"requests": {"nvidia.com/gpu": 1, "memory": "64Gi", "cpu": "5"}, "limits": {"nvidia.com/gpu": 1}}}
    made = plan(settings(shard=small))
    assert made.gpu_pool.nodes == 2
    assert made.pod.huge_pages_mib == 512


def test_autoscaling_makes_room_for_its_most_pipelines():
    made = plan(settings(autoscaling={"enabled": True, "maxPipelines": 3}))
    assert (made.gpu_pool.min_nodes, made.gpu_pool.max_nodes) == (8, 24)


@pytest.mark.parametrize(("layers", "shards"), [(80, 8), (80, 7), (32, 32), (1, 1), (61, 8)])
def test_layers_are_split_without_gap_or_overlap(layers, shards):
    stages = split_layers(layers, shards)
    assert [layer for s in stages for layer in range(s.first_layer, s.last_layer + 1)] == list(range(layers))
    sizes = [s.last_layer - s.first_layer + 1 for s in stages]
    assert max(sizes) - min(sizes) <= 1


def test_retired_size_is_said_with_the_line_that_switches():
    finding = finding_of("SIZE-001", settings())
    assert "2025-09-30" in finding.because and "gpuPool: {vmSize: Standard_NC24ads_A100_v4}" in finding.because


def test_one_line_switches_the_size_and_the_shards_follow_it():
    """The guide's nodeSelector names the size too; left as pasted, every shard would stay Pending."""
    asked = settings(gpuPool={"vmSize": "Standard_NC24ads_A100_v4"})
    made = plan(asked)
    assert made.pod.node_selector == {"node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"}
    finding = finding_of("PLACE-001", asked)
    assert (finding.asked, finding.given) == ("Standard_NC24s_v3", "Standard_NC24ads_A100_v4")


def test_refusals_are_listed_together():
    found = refusals(
        gpuPool={"vmSize": "Standard_NC24s_v2"},
        model={"name": "llama-2-70"},
        caching={"l3Cache": {"size": "3Ti"}},
    )
    assert set(found) == {"gpuPool.vmSize", "model.name", "caching.l3Cache.size"}
    assert "did you mean Standard_NC24s_v3?" in found["gpuPool.vmSize"]
    assert "did you mean llama-2-70b?" in found["model.name"]


@pytest.mark.parametrize(
    ("sections", "key", "says"),
    [
        ({"sharding": {"shardsCount": 8, "layersPerShard": 11}}, "sharding.layersPerShard", "88 layers but llama-2-70b has 80"),
        ({"sharding": {"shardsCount": 81}}, "sharding.shardsCount", "at most 80"),
        ({"gpuPool": {"maxNodes": 7}}, "gpuPool.maxNodes", "8 shards need 8 nodes"),
        ({"gpuPool": {"minNodes": 0}}, "gpuPool.minNodes", "huge pages"),
        ({"shard": {}}, "shard.resources.limits.nvidia.com/gpu", "without a GPU"),
        (
            {"shard": {"resources": {"requests": {"cpu": "24", "nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}}}},
            "shard.resources.requests.cpu",
            "23.66 CPUs are left",
        ),
    ],
)
def test_what_cannot_be_placed_is_refused(sections, key, says):
    assert says in refusals(**sections)[key]


def test_reservations_are_those_aks_publishes():
    """MicrosoftDocs/azure-aks-docs articles/aks/node-resource-reservations.md: the CPU table and the two memory examples."""
    published = {1: 60, 2: 100, 4: 140, 8: 180, 16: 260, 32: 420, 64: 740}
    assert {cores: reserved_cpu_millicores(cores) for cores in published} == published
    assert reserved_memory_mib(8, max_pods=30) == 650 + 100
    assert reserved_memory_mib(4, max_pods=70) == 1024 + 100


def test_every_figure_of_the_catalogue_has_source_and_date():
    for name in ("models.csv", "prices.csv"):
        for row in catalogue._rows(name):
            assert row["source"] and row["source_date"], row
