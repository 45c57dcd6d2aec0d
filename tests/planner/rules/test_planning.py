"""The plan of a stack: layers, pods, nodes, the three modes, and what is refused."""

import pytest

from planner import plan
from planner.catalogue.aks_reservations import reserved_cpu_millicores, reserved_memory_mib
from planner.fit.layers import split_layers
from settings import SettingsError
from settings.flatten import leaves
from tests.planner.stacks import A100, settings, stack, verbatim
from tests.shipped import STACKS


def refusals(asked) -> dict[str, str]:
    with pytest.raises(SettingsError) as error:
        plan(asked)
    return {problem.key: f"{problem.value} {problem.consequence} {problem.fix}" for problem in error.value.problems}


@pytest.mark.parametrize(("location", "fix"), [("eastus9", "did you mean eastus?"), ("moon", "a name from `az account list-locations`")])
def test_a_place_that_is_no_region_is_refused_with_the_nearest_name(location, fix):
    [(key, said)] = refusals(settings(azure={"location": location})).items()
    assert key == "azure.location" and said.startswith(f"{location} is no region of Azure's public cloud") and fix in said


def test_a_region_without_a_price_is_planned():
    assert plan(settings(azure={"location": "polandcentral"})).usd_per_hour is None


def test_verbatim_a_shard_that_fills_a_node_takes_one_each():
    made = plan(verbatim())
    assert [shard.layer_range for shard in made.shards] == ["0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70-79"]
    [pool] = made.gpu_pools
    assert (pool.nodes, pool.min_nodes, pool.max_nodes, pool.zones) == (8, 8, 8, ("1", "2", "3"))
    assert made.pod.limits["hugepages-2Mi"] == made.pod.requests["hugepages-2Mi"] == "2048Mi"


def test_verbatim_smaller_shards_share_a_node_and_its_huge_pages():
    small = {"resources": {"requests": {"nvidia.com/gpu": 1, "memory": "64Gi", "cpu": "5"}, "limits": {"nvidia.com/gpu": 1}}}
    made = plan(verbatim(shard=small))
    assert made.nodes == 2
    assert made.pod.huge_pages_mib == 512


def test_fitted_shards_get_their_gpus_share_of_a_node():
    """24 CPUs and 448 GiB, of which AKS keeps 0.34 CPUs and 5 GiB, huge pages 2 GiB, and the agents a little, over four GPUs."""
    made = plan(settings())
    assert made.pod.requests == made.pod.limits
    assert made.pod.requests == {"nvidia.com/gpu": "1", "cpu": "5", "memory": "109Gi", "hugepages-2Mi": "512Mi"}


def test_autoscaling_makes_room_for_its_most_pipelines():
    scaling = {"enabled": True, "maxPipelines": 3}
    [pool] = plan(verbatim(autoscaling=scaling)).gpu_pools
    assert (pool.min_nodes, pool.max_nodes) == (8, 24)
    [pool] = plan(settings(autoscaling=scaling)).gpu_pools
    assert (pool.min_nodes, pool.max_nodes, pool.zones) == (2, 6, ("1",))


@pytest.mark.parametrize("name", STACKS)
def test_verbatim_deploys_what_was_written_and_fitted_says_what_it_changed(name):
    asked = stack(name)
    written = leaves(asked)
    changed = {key for key, value in leaves(plan(asked).settings).items() if written.get(key) != value}
    said = {finding.key for finding in plan(asked).findings if finding.given != finding.asked and finding.outcome != "translated"}
    assert changed == said
    assert bool(changed) == (name == "prod")
    if name == "prod":
        kept = plan(asked.model_copy(update={"sizing": asked.sizing.model_copy(update={"mode": "verbatim"})}))
        assert leaves(kept.settings) == written | {"sizing.mode": "verbatim"}
        [cpu] = [finding for finding in kept.findings if finding.key == "shard.resources.requests.cpu"]
        assert (cpu.asked, cpu.given, cpu.outcome) == ("16", "16", "noted")
        assert "kept as written, `sizing: {mode: fitted}` would give 5" in cpu.because


def test_strict_refuses_all_that_fitted_would_change():
    asked = settings(sizing={"mode": "strict"})
    fitted = plan(settings())
    found = refusals(asked)
    assert set(found) == {finding.key for finding in fitted.findings if finding.outcome in ("adjusted", "not supported")}
    assert found["shard.resources.requests.cpu"].endswith("5, or sizing: {mode: fitted} to have it adjusted")


def test_strict_takes_what_fitted_made():
    asked = plan(settings()).settings
    made = plan(asked.model_copy(update={"sizing": asked.sizing.model_copy(update={"mode": "strict"})}))
    assert made.nodes == 2


@pytest.mark.parametrize(("layers", "shards"), [(80, 8), (80, 7), (32, 32), (1, 1), (61, 8)])
def test_layers_are_split_without_gap_or_overlap(layers, shards):
    stages = split_layers(layers, shards)
    assert [layer for s in stages for layer in range(s.first_layer, s.last_layer + 1)] == list(range(layers))
    sizes = [s.last_layer - s.first_layer + 1 for s in stages]
    assert max(sizes) - min(sizes) <= 1


def test_a_price_of_ones_own_counts():
    assert plan(settings(gpuPool={"usdPerHour": 10})).usd_per_hour == 20


def test_mig_instances_are_gpus_of_their_own():
    size = {"vmSize": "Standard_NC24ads_A100_v4", "mig": "MIG1g"}
    made = plan(settings(model={"name": "llama-2-7b"}, sharding={"shardsCount": 4}, gpuPool=size))
    assert (made.nodes, made.gpus_paid, made.gpus_used) == (1, 7, 4)
    assert made.memory.memory.total_gib == pytest.approx(plan(settings(gpuPool={"vmSize": size["vmSize"]})).memory.memory.total_gib / 8)


def test_refusals_are_listed_together():
    found = refusals(settings(gpuPool={"vmSize": "Standard_NC24s_v2"}, model={"name": "llama-2-70"}, caching={"l3Cache": {"size": "3Ti"}}))
    assert set(found) == {"gpuPool.vmSize", "model.name", "caching.l3Cache.size"}
    assert "did you mean Standard_NC24s_v3?" in found["gpuPool.vmSize"]
    assert "the catalogue has llama-2-70b, " in found["model.name"] and "model.shape" in found["model.name"]


SHAPE = {"paramsB": 70, "layers": 64, "hidden": 8192, "heads": 64, "kvHeads": 8, "intermediate": 28672, "vocab": 32000, "context": 8192}


def test_a_model_of_ones_own_is_planned_by_its_shape():
    made = plan(settings(model={"name": "ours", "shape": SHAPE}, sharding={"shardsCount": 8}))
    assert (made.shape.name, made.shards[-1].layer_range) == ("ours", "56-63")


MI300X = {"vmSize": "Standard_ND96isr_MI300X_v5"}
FULL_NODE = {"resources": {"requests": {"cpu": "24", "nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}}}


@pytest.mark.parametrize(
    ("asked", "key", "says"),
    [
        (verbatim(sharding={"shardsCount": 8, "layersPerShard": 11}), "sharding.layersPerShard", "88 layers but llama-2-70b has 80"),
        (settings(sharding={"shardsCount": 7, "layersPerShard": 11}), "sharding.layersPerShard", "77 layers but llama-2-70b has 80"),
        (settings(sharding={"shardsCount": 81}), "sharding.shardsCount", "at most 80"),
        (settings(caching={"l1Cache": {"size": "16Gi"}}), "caching.l1Cache.size", "limits to 12Gi, so it would be killed"),
        (settings(gpuPool={"maxNodes": 1}), "gpuPool.maxNodes", "8 shards need 8 GPUs on 2 nodes of Standard_NC24s_v3, but 4 are allowed"),
        (settings(gpuPool={"minNodes": 0}), "gpuPool.minNodes", "huge pages"),
        (settings(gpuPool={"mig": "MIG1g"}), "gpuPool.mig", "the V100 has no Multi-Instance GPU"),
        (settings(gpuPool=MI300X), "gpuPool.vmSize", "has AMD GPUs"),
        (settings(gpuPool=MI300X, engine="vllm"), "gpuPool.vmSize", "Standard_ND96isr_H200_v5; AKS runs"),
        (settings(gpuPool=MI300X, engine="vllm"), "gpuPool.vmSize", "docker.io/vllm/vllm-openai-rocm:v0.17.1"),
        (settings(gpuPool=MI300X, engine="llama_cpp"), "gpuPool.vmSize", "ghcr.io/ggml-org/llama.cpp:server-rocm"),
        (settings(gpuPool={"vmSize": "Standard_NCC40ads_H100_v5"}), "gpuPool.vmSize", "signed driver AKS does not install"),
        (settings(shard={"resources": {"limits": {"nvidia.com/gpu": 0}}}), "shard.resources.limits.nvidia.com/gpu", "without a GPU"),
        (verbatim(shard=FULL_NODE), "shard.resources.requests.cpu", "23.04 CPUs are left"),
        (
            settings(sharding={"shardsCount": 4}),
            "model.name",
            "GiB too few sharding.shardsCount: 8 or model.quantization.precision: int4",
        ),
        (
            settings(sharding={"shardsCount": 5}, model={"quantization": {"precision": "fp16"}}),
            "model.name",
            "sharding.shardsCount: 10 or model.quantization.precision: int4",
        ),
    ],
)
def test_what_cannot_be_is_refused(asked, key, says):
    assert says in refusals(asked)[key]


def test_a_first_cache_on_the_shards_hosts_needs_no_memory_of_the_coordinator():
    """vLLM keeps it beside the GPUs, whose nodes have hundreds of gigabytes; a proxy of 4 GiB was said to be too small for it."""
    one = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    made = plan(
        settings(
            engine="vllm",
            gpuPool=A100,
            model={"name": "qwen3-8b"},
            sharding={"shardsCount": 1},
            shard=one,
            caching={"l1Cache": {"size": "64Gi"}},
        )
    )
    assert made.settings.caching.l1_cache.size.gib == 64


SURGE = {"maxUnavailablePipelines": 0, "maxSurgePipelines": 1}


@pytest.mark.parametrize(("pipelines", "most"), [(1, 4), (2, 7)])
def test_an_update_that_could_never_begin_is_refused_with_the_nodes_that_it_needs(pipelines, most):
    """It waited for a free GPU for as long as the load timeout, and so did every update after it."""
    sharding = {"shardsCount": 8, "pipelines": pipelines}
    problem = refusals(settings(sharding=sharding, rollout=SURGE))["rollout.maxUnavailablePipelines"]
    assert "would wait for a free GPU" in problem and f"gpuPool.maxNodes: {most}" in problem
    assert plan(settings(sharding=sharding, rollout=SURGE, gpuPool={"maxNodes": most})).nodes == 2 * pipelines


def test_the_smallest_change_makes_a_model_fit():
    """What the refusal says is tried."""
    assert plan(settings(sharding={"shardsCount": 8})).memory.short_gib == 0
    assert plan(settings(sharding={"shardsCount": 4}, model={"quantization": {"precision": "int4"}})).memory.short_gib == 0
    assert "sharding.shardsCount" in refusals(settings(sharding={"shardsCount": 5}))["model.name"]


def test_reservations_are_those_aks_publishes():
    """MicrosoftDocs/azure-aks-docs articles/aks/node-resource-reservations.md: the CPU table and the two memory examples."""
    published = {1: 60, 2: 100, 4: 140, 8: 180, 16: 260, 32: 420, 64: 740}
    assert {cores: reserved_cpu_millicores(cores) for cores in published} == published
    assert reserved_memory_mib(8, max_pods=30) == 650 + 100
    assert reserved_memory_mib(4, max_pods=70) == 1024 + 100
