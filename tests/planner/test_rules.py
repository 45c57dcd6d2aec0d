"""What the planner says of settings that contradict each other, the hardware or Azure; and that other numbers get other answers."""

import json
import re
from pathlib import Path

import pytest

from planner import catalogue, gpu_memory, memory, plan, proxy_memory
from settings import SettingsError, StackSettings
from settings.files import ROOT
from settings.leaves import document
from tests.planner.stacks import GUIDE_SHARD, HARD_OVER_ZONES, settings, stack, verbatim

A100 = {"vmSize": "Standard_NC24ads_A100_v4"}
H100 = {"vmSize": "Standard_NC40ads_H100_v5"}


def findings(asked):
    return plan(asked).findings


def shard(**config):
    return GUIDE_SHARD | {"config": config}


def with_env(**variables):
    return GUIDE_SHARD | {"env": [{"name": name, "value": value} for name, value in variables.items()]}


def resources(cpu, memory, limit_cpu=None, limit_memory=None, gpus=1):
    requests = {"nvidia.com/gpu": gpus, "cpu": cpu, "memory": memory}
    return {
        "resources": {"requests": requests, "limits": requests | {"cpu": limit_cpu or cpu, "memory": limit_memory or memory}},
    }


def llama_cpp(**sections):
    """The guide's shards with an engine that keeps a pipeline in one pod, on a node whose two GPUs hold the model."""
    return settings(**{"engine": "llama_cpp", "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"}} | sections)


GGUF = f"hf://org/name-GGUF@{'0' * 40}/name.Q8_0.gguf"


def fetched(**sections):
    """The same with weights that each node keeps a copy of."""
    return llama_cpp(**{"model": {"source": GGUF}} | sections)


def vllm(size="Standard_NC48ads_A100_v4", **sections):
    """The guide's shards with an engine that lets the GPUs of a pod share each layer."""
    return settings(engine="vllm", gpuPool={"vmSize": size}, **sections)


PUBLIC = {"public": True, "allowedIpRanges": ["20.1.2.0/24"]}

FITTED = resources("5", "109Gi")
CASES = [
    # code, stack that has it, key, asked -> given, words of the reason, the same stack mended
    (
        "FIT-001",
        settings(),
        "model.kvCache.maxCacheSize",
        "16Gi -> 4.25Gi",
        "8.96 hold weights",
        {"model": {"kvCache": {"maxCacheSize": "4Gi"}}},
    ),
    ("FIT-002", settings(), "shard.config.gpuMemoryFraction", "0.95 -> 0.9", "allows 90%", {"targets": {"gpuMemory": "95%"}}),
    (
        "FIT-003",
        settings(),
        "shard.config.allowGpuMemoryGrowth",
        "true -> false",
        "preAllocate",
        {"model": {"kvCache": {"preAllocate": False}}},
    ),
    (
        "FIT-004",
        settings(model={"kvCache": {"maxCacheSize": "1Gi"}}),
        "coordinator.config.dynamicBatching.maxBatchSize",
        "32 -> 32",
        "12 requests of the full 4,096, or 32 of 1,542 each",
        {"coordinator": {"config": {"dynamicBatching": {"maxBatchSize": 12}}}},
    ),
    ("GPU-001", settings(), "model.attention.flashAttention", "true -> false", "8.0 and the V100 has 7.0", {"gpuPool": A100}),
    (
        "GPU-002",
        settings(model={"quantization": {"precision": "fp8"}}),
        "model.quantization.precision",
        "fp8 -> int8",
        "the V100 has no fp8",
        {"gpuPool": H100},
    ),
    ("GPU-003", settings(), "model.quantization.precision", "int8 -> int8", "no INT8 tensor cores", {"gpuPool": A100}),
    (
        "GPU-004",
        settings(model={"compilation": {"tensorrt": {"enabled": True}}}),
        "model.compilation.tensorrt.enabled",
        "true -> false",
        "was the last to know the V100",
        {"gpuPool": A100},
    ),
    (
        "GPU-005",
        settings(shard=resources("10", "200Gi", gpus=2) | {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]}),
        "shard.env.CUDA_VISIBLE_DEVICES",
        "0 -> 0,1",
        "would see 1 of them",
        {"shard": resources("5", "100Gi") | {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]}},
    ),
    (
        "MODEL-001",
        settings(gpuPool=A100, model={"compilation": {"tensorrt": {"enabled": True, "precision": "fp16"}}}),
        "model.compilation.tensorrt.precision",
        "fp16 -> int8",
        "2 bytes each",
        {"model": {"compilation": {"tensorrt": {"enabled": True, "precision": "int8"}}}},
    ),
    (
        "CPU-001",
        settings(shard=with_env(ENABLE_AVX512="true")),
        "shard.env.ENABLE_AVX512",
        "true -> false",
        "Broadwell",
        {"gpuPool": H100},
    ),
    (
        "PROF-001",
        settings(),
        "profiling.gpu.nvprof",
        "true -> false",
        "gone from current CUDA",
        {"profiling": {"gpu": {"nvprof": False}}},
    ),
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
    ("PLACE-004", settings(), "shard.resources.limits.memory", "128Gi -> 109Gi", "512 GiB of a Standard_NC24s_v3's 448", {"shard": FITTED}),
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
        "7 times a token",
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
        "THREAD-001",
        settings(),
        "shard.config.workerThreads",
        "24 -> 4",
        "96 such threads on its 24 CPUs",
        {"shard": shard(workerThreads=4, ioThreads=1)},
    ),
    (
        "THREAD-002",
        settings(shard=with_env(MKL_NUM_THREADS="24")),
        "shard.env.MKL_NUM_THREADS",
        "24 -> 4",
        "5 CPUs",
        {"shard": with_env(MKL_NUM_THREADS="4")},
    ),
    (
        "THREAD-003",
        settings(),
        "shard.config.threadScheduler",
        "fifo -> other",
        "CAP_SYS_NICE",
        {"shard": shard(threadScheduler="other")},
    ),
    (
        "THREAD-004",
        settings(shard=with_env(GC_MAXIMUM_HEAP_SIZE="200Gi")),
        "shard.env.GC_MAXIMUM_HEAP_SIZE",
        "200Gi -> 83712Mi",
        "may use 109Gi in all",
        {"shard": with_env(GC_MAXIMUM_HEAP_SIZE="64Gi")},
    ),
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
        "describe 100 layers, llama-2-70b has 80",
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
    (
        "NODE-002",
        settings(nodeTuning={"hugePages2Mi": 0}),
        "shard.config.useHugePages",
        "true -> false",
        "sets none aside",
        {"nodeTuning": {"hugePages2Mi": 1}},
    ),
    (
        "ENGINE-001",
        llama_cpp(),
        "caching.l3Cache.enabled",
        "true -> false",
        "nor llama-server speaks to Redis",
        {"caching": {"l3Cache": {"enabled": False}}},
    ),
    (
        "ENGINE-002",
        llama_cpp(),
        "sharding.shardsCount",
        "8 -> 1",
        "8 shards of 1 GPU become one of 2 GPUs",
        {"sharding": {"shardsCount": 1}},
    ),
    (
        "ENGINE-003",
        llama_cpp(model={"quantization": {"precision": "fp8"}}),
        "model.quantization.precision",
        "fp8 -> int8",
        "no weights in fp8",
        {"model": {"quantization": {"precision": "int4"}}},
    ),
    (
        "ENGINE-004",
        llama_cpp(model={"attention": {"flashAttention": False}}),
        "model.attention.flashAttention",
        "false -> true",
        "in 8 bits",
        {"model": {"attention": {"flashAttention": False}, "kvCache": {"compression": False}}},
    ),
    (
        "ENGINE-005",
        llama_cpp(coordinator={"config": {"dynamicBatching": {"maxBatchSize": 300}}}),
        "coordinator.config.dynamicBatching.maxBatchSize",
        "300 -> 256",
        "at most 256 requests at once",
        {"coordinator": {"config": {"dynamicBatching": {"maxBatchSize": 256}}}},
    ),
    (
        "ENGINE-006",
        vllm(),
        "sharding.shardsCount",
        "8 -> 1",
        "8 shards of 1 GPU become 1 shard of 2 GPUs, on which the model fits",
        {"shard": resources("5", "109Gi", gpus=2), "sharding": {"shardsCount": 1}},
    ),
    (
        "ENGINE-007",
        vllm(caching={"l1Cache": {"size": "100Gi"}}, shard=resources("5", "109Gi")),
        "caching.l1Cache.size",
        "100Gi -> 55808Mi",
        "a pipeline has 109 GiB",
        {"caching": {"l1Cache": {"size": "54Gi"}}},
    ),
    (
        "NET-001",
        llama_cpp(),
        "shard.config.networkTimeout",
        "30s -> 30s",
        "at 38 ms a token at best that is 786 tokens",
        {"shard": shard(networkTimeout="10m")},
    ),
    ("TARGET-001", settings(), "targets.latency", "2s -> 2s", "8.2 s for 100 tokens at best", {"targets": {"latency": "9s"}}),
    (
        "TARGET-002",
        llama_cpp(),
        "targets.throughputRps",
        "100.0 -> 100.0",
        "32,000 words in 0.20 ms (measured): 50 requests/s of 100 tokens at best with 1 of them",
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
        "WEIGHTS-001",
        llama_cpp(),
        "caching.l2Cache.enabled",
        "true -> false",
        "without model.source nothing is",
        {"model": {"source": GGUF}},
    ),
    (
        "WEIGHTS-002",
        fetched(gpuPool={"vmSize": "Standard_ND128isr_NDR_GB200_v6"}),
        "caching.l2Cache.enabled",
        "true -> false",
        "no local disk that is known, and the weights are 68.7 GiB",
        {"gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"}},
    ),
    (
        "WEIGHTS-003",
        fetched(),
        "caching.l2Cache.size",
        "32Gi -> 69Gi",
        "68.7 GiB of the 894",
        {"caching": {"l2Cache": {"size": "70Gi"}}},
    ),
    (
        "WEIGHTS-004",
        fetched(rollout={"modelLoadTimeout": "5m"}),
        "rollout.modelLoadTimeout",
        "5m -> 13m",
        "from the node's disk in 369 s, at 200 MB/s",
        {"rollout": {"modelLoadTimeout": "13m"}},
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
        "PROXY-001",
        llama_cpp(),
        "coordinator.resources.limits.memory",
        "12Gi -> 3Gi",
        "2,000 connections and 1,500 requests of 1MB at once take the proxy 2.6 GiB: it keeps no answers",
        {"coordinator": {"resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "5Gi"}}}},
    ),
    (
        "ROLL-001",
        llama_cpp(rollout={"terminationGrace": "20s"}),
        "rollout.terminationGrace",
        "20s -> 20s",
        "those of the last 12 s meet a pod that is gone",
        {"rollout": {"terminationGrace": "40s"}},
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
        "unnamed and without a limit of his own",
        {"exposure": {"public": False}},
    ),
]


@pytest.mark.parametrize(("code", "asked", "key", "change", "because", "mended"), CASES, ids=[case[0] for case in CASES])
def test_it_is_said_with_its_figures_and_not_of_other_numbers(code, asked, key, change, because, mended):
    found = {finding.key: finding for finding in findings(asked) if finding.code == code}
    assert key in found, f"{code} was not found, or of {sorted(found)}"
    assert f"{found[key].asked} -> {found[key].given}" == change
    assert because in found[key].because
    assert found[key].source
    better = StackSettings.model_validate_json(json.dumps(document(asked) | mended))
    assert key not in {finding.key for finding in findings(better) if finding.code == code}


def test_an_annotation_that_nobody_knows_is_not_supported():
    asked = settings(coordinator={"service": {"annotations": {"service.beta.kubernetes.io/azure-load-balancer-skew": "Standard"}}})
    [found] = [finding for finding in findings(asked) if finding.code == "LB-001"]
    assert (found.outcome, found.given) == ("not supported", "nothing")


def test_kernel_settings_are_translated():
    found = {finding.key for finding in findings(settings()) if finding.code == "NODE-001"}
    assert found == {"nodeTuning.hugePages2Mi", "nodeTuning.overcommitMemory"}


def test_prod_as_pasted_from_the_guide_has_its_contradictions_found():
    found = {finding.code for finding in findings(stack("prod"))}
    idle_gpus_and_limits = {"PLACE-002", "PLACE-003", "PLACE-004", "PLACE-005"}
    hardware = {"GPU-001", "GPU-003", "GPU-004", "CPU-001", "PROF-001", "FIT-001", "TARGET-001", "SIZE-001"}
    assert found >= idle_gpus_and_limits | hardware | {"THREAD-001", "LAYER-001", "LB-001", "LB-002", "PLACE-006", "NODE-001"}


def test_engines_kernels_decide_which_rules_of_the_hardware_apply():
    """llama.cpp's flash attention runs on a T4 or V100, and its INT8 products are INT8 there."""
    on_t4 = {"model": {"name": "llama-2-7b"}, "sharding": {"shardsCount": 1}, "gpuPool": {"vmSize": "Standard_NC4as_T4_v3", "zones": []}}
    fa2 = {finding.code for finding in findings(settings(**on_t4))}
    own = {finding.code for finding in findings(settings(engine="llama_cpp", **on_t4))}
    assert "GPU-001" in fa2 and "GPU-001" not in own
    on_v100 = on_t4 | {"gpuPool": {"vmSize": "Standard_NC24s_v3"}}
    assert "GPU-003" in {finding.code for finding in findings(settings(**on_v100))}
    assert "GPU-003" not in {finding.code for finding in findings(settings(engine="llama_cpp", **on_v100))}


def test_a_pipeline_that_no_node_holds_is_refused_with_what_would_help():
    with pytest.raises(SettingsError) as refused:
        plan(settings(engine="llama_cpp"))
    [problem] = refused.value.problems
    assert "GiB too few" in problem.consequence
    assert problem.fix == "model.quantization.precision: int4"
    with pytest.raises(SettingsError) as refused:
        plan(llama_cpp(sharding={"shardsCount": 1}, model={"quantization": {"precision": "fp16"}}))
    assert refused.value.problems[0].fix == "shard.resources.limits.nvidia.com/gpu: 2 or model.quantization.precision: int8"


def test_verbatim_cannot_cut_a_process_into_shards():
    with pytest.raises(SettingsError, match="all but the first would answer nothing"):
        plan(llama_cpp(sizing={"mode": "verbatim"}))


def test_layers_split_over_gpus_take_turns_and_share_the_cache():
    """Each GPU holds some layers: its part of the weights and of the cache, and no all-reduce; a token waits for one after another."""
    made = plan(llama_cpp(model={"kvCache": {"maxCacheSize": "8Gi"}}))
    assert (made.pod.gpus, len(made.shards), made.nodes) == (2, 1, 1)
    assert made.memory.memory.kv_gib == pytest.approx(4)
    gpu = catalogue.gpu("A100-80GB-PCIe")
    half = gpu_memory.tightest(settings(shard=shard(gpuMemoryFraction=0.9), sharding={"shardsCount": 2}), gpu, made.shape)
    assert made.memory.memory.weights_gib == pytest.approx(half.memory.weights_gib)
    assert made.memory.memory.reserve_gib == pytest.approx(half.memory.reserve_gib)
    [floor] = [finding for finding in made.findings if finding.code == "TARGET-001"]
    assert "(1 A100-80GB-PCIe at a time)" in floor.because


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
    assert (found.code, found.given) == ("PROXY-001", "11Gi") and "would refuse requests" in found.because
    assert "PROXY-001" not in {one.code for one in findings(settings())}, "another coordinator has a cache to hold"


def test_the_proxys_memory_is_what_was_measured():
    measured = json.loads((ROOT / proxy_memory.SOURCE).read_text())
    assert measured["mib"]["idle"] == pytest.approx(proxy_memory.IDLE_MIB, rel=0.05)
    assert measured["kib_a_connection"] == pytest.approx(proxy_memory.CONNECTION_KIB, rel=0.05)
    assert measured["kib_a_request"] == pytest.approx(proxy_memory.REQUEST_KIB, rel=0.05)
    assert measured["bytes_a_body_byte"] == pytest.approx(proxy_memory.BYTES_A_BODY_BYTE, rel=0.05)


def test_gpus_are_not_paid_for_to_stand_idle():
    """Fifteen GPUs are on two nodes of eight, but three pods of five are not; three of four are, and hold the model."""
    made = plan(llama_cpp(gpuPool={"vmSize": "Standard_ND96amsr_A100_v4", "zones": []}, sharding={"shardsCount": 5, "pipelines": 3}))
    assert layout_of(made) == (1, 4, 2)
    [because] = {finding.because for finding in made.findings if finding.code == "ENGINE-002"}
    assert because.endswith("become one of 4 GPUs, as 5 GPUs each would take 3 nodes instead of 2")


def test_no_redis_is_bought_for_an_engine_that_does_not_ask_it():
    assert plan(settings()).redis_sku and not plan(llama_cpp()).redis_sku


def layout_of(made):
    return len(made.shards), made.pod.gpus, made.nodes


FEW_HEADS = {"name": "qwen2-7b"}


@pytest.mark.parametrize(
    ("asked", "shards", "gpus", "nodes"),
    [
        # 70B in INT8 fits two A100 and no four V100: a pod, and a group of two whole nodes.
        (vllm(), 1, 2, 1),
        (vllm("Standard_NC24s_v3"), 2, 4, 2),
        (vllm("Standard_ND96isr_H100_v5"), 1, 8, 1),
        # Whole nodes as they are asked for stay what they are.
        (vllm(shard=resources("5", "109Gi", gpus=2), sharding={"shardsCount": 2}), 2, 2, 2),
        # 28 heads, four of them with keys and values: of eight GPUs four.
        (vllm("Standard_ND96isr_H100_v5", model=FEW_HEADS, sharding={"shardsCount": 1}, shard=resources("5", "9Gi", gpus=8)), 1, 4, 1),
        (vllm("Standard_NC96ads_A100_v4", sharding={"shardsCount": 1}, shard=resources("5", "109Gi", gpus=3)), 1, 2, 1),
        # Ten pods of one GPU are three nodes of four; not four where each is to have as many layers, as two do.
        (vllm("Standard_NC24s_v3", sharding={"shardsCount": 10}), 3, 4, 3),
        (vllm("Standard_NC24s_v3", sharding={"shardsCount": 10, "layersPerShard": 8}), 2, 4, 2),
        # Fifteen GPUs are eight nodes of two, as five pods of one or two of two for each pipeline; three of two would be nine.
        (vllm(model={"name": "falcon-180b"}, sharding={"shardsCount": 5, "pipelines": 3}), 2, 2, 6),
        (settings(engine="vllm", gpuPool=A100 | {"mig": "MIG3g"}, model={"name": "llama-2-7b"}, sharding={"shardsCount": 2}), 1, 1, 1),
    ],
)
def test_the_gpus_of_a_pod_share_each_layer(asked, shards, gpus, nodes):
    made = plan(asked)
    assert layout_of(made) == (shards, gpus, nodes)
    strict = made.settings.model_copy(update={"sizing": asked.sizing.model_copy(update={"mode": "strict"})})
    assert layout_of(plan(strict)) == (shards, gpus, nodes), "what was made is what would be made of it"


@pytest.mark.parametrize(("gpus", "instead"), [(3, 2), (6, 4)])
def test_a_pod_whose_gpus_cannot_share_the_heads_is_refused_verbatim(gpus, instead):
    asked = vllm(
        "Standard_ND96isr_H100_v5", shard=resources("5", "109Gi", gpus=gpus), sharding={"shardsCount": 1}, sizing={"mode": "verbatim"}
    )
    with pytest.raises(SettingsError) as refused:
        plan(asked)
    [problem] = refused.value.problems
    assert (problem.key, problem.fix.partition(",")[0]) == ("shard.resources.limits.nvidia.com/gpu", str(instead))


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        (vllm(model={"quantization": {"precision": "fp16"}}, sharding={"shardsCount": 1}), "shard.resources.limits.nvidia.com/gpu: 2"),
        (
            vllm("Standard_NC24s_v3", sharding={"shardsCount": 4}),
            "sharding.shardsCount: 2 with shard.resources.limits.nvidia.com/gpu: 4",
        ),
    ],
)
def test_what_a_refusal_of_vllm_says_is_tried(asked, fix):
    with pytest.raises(SettingsError) as refused:
        plan(asked)
    assert refused.value.problems[0].fix.startswith(f"{fix} or ")
    gpus = int(fix[-1])
    shards = 2 if "shardsCount" in fix else 1
    mended = document(asked) | {"shard": resources("5", "109Gi", gpus=gpus), "sharding": {"shardsCount": shards}}
    assert layout_of(plan(StackSettings.model_validate_json(json.dumps(mended))))[:2] == (shards, gpus)


def test_the_gpus_of_each_stage_share_its_weights_and_cache():
    made = plan(vllm("Standard_NC24s_v3", model={"kvCache": {"maxCacheSize": "8Gi"}}))
    first, last = (memory.weights_gib(made.shape, stage.first_layer, stage.last_layer, "int8") / 4 for stage in made.shards)
    assert made.memory.memory.weights_gib == pytest.approx(max(first, last))
    assert made.memory.memory.kv_gib == pytest.approx(8 / 4)
    # A token is in the cache of both stages, half of its layers in each.
    assert made.memory.tokens == int(8 * 2**30 / memory.kv_bytes_per_token(made.shape, 40, "int8"))
    assert made.memory.memory.reserve_gib > memory.TENSOR_PARALLEL_OVERHEAD_GIB


def test_a_v100_reads_prompts_whole_and_others_in_parts():
    """vLLM's older release computes the longest prompt at once, so its buffers are planned for that."""
    old, new = (plan(vllm(size, sharding={"shardsCount": 8})) for size in ("Standard_NC24s_v3", "Standard_NC96ads_A100_v4"))
    assert gpu_memory.batch_tokens(old.settings, old.gpu, old.shape) == old.shape.context == 4096
    assert gpu_memory.batch_tokens(new.settings, new.gpu, new.shape) == 2048


def codes_in_the_source():
    sources = [path.read_text() for path in sorted(Path(ROOT / "planner").rglob("*.py"))]
    return set(re.findall(r'"([A-Z]+-\d{3})"', "\n".join(sources)))


def test_every_code_has_one_entry_in_the_docs_and_a_case_here():
    entries = re.findall(r"^### ([A-Z]+-\d{3})$", (ROOT / "docs" / "findings.md").read_text(), flags=re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(entries) == codes_in_the_source()
    assert codes_in_the_source() - {"NODE-001"} == {case[0] for case in CASES}
