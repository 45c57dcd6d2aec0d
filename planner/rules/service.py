"""The model's layers, the front door, the nodes' kernel, the targets, and what Azure sells."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.fit import stack_memory
from planner.fit.layers import split_layers
from planner.fit.placement import shares
from planner.performance.equations import CHOICE_S_PER_WORD
from planner.rules.rule import Advice, Situation

CURRENT_SIZE = "Standard_NC24ads_A100_v4"
"""The size a retired one is switched to in one line: the smallest data-centre GPU size of the catalogue still sold."""

_AZURE = "service.beta.kubernetes.io/azure-"
# What AKS's cloud provider reads. Source: kubernetes-sigs/cloud-provider-azure site/content/en/topics/loadbalancer.md at a1534ef2 and
# pkg/consts/consts.go at 7b31c76c; MicrosoftDocs/azure-aks-docs articles/aks/configure-load-balancer-standard.md at ccbb339b.
_HONOURED = re.compile(
    "load-balancer-(internal|internal-subnet|resource-group|tcp-idle-timeout|disable-tcp-reset|ipv4|ipv6|configurations"
    "|health-probe-(interval|num-of-probe|request-path|protocol)|enable-high-availability-ports)"
    "|dns-label-name|allowed-service-tags|allowed-ip-ranges|pip-(name|prefix-id)(-ipv6)?|pip-tags|pip-ip-tags"
    "|deny-all-except-load-balancer-source-ranges|additional-public-ips|disable-load-balancer-floating-ip|disable-load-balancer-nsg-rule"
    "|pls-[a-z-]+"
)


def size_is_sold(at: Situation) -> Iterator[Advice]:
    if at.size.retired_on:
        yield Advice(
            code="SIZE-001",
            outcome="noted",
            path=("gpuPool", "vmSize"),
            because=f"Azure retired it on {at.size.retired_on}: existing nodes may live on, new ones cannot be made in public regions. "
            f"To switch: gpuPool: {{vmSize: {CURRENT_SIZE}}}",
            source="MicrosoftDocs/azure-compute-docs articles/virtual-machines/ncv3-retirement.md@11277ad7",
        )


def arm64_images(at: Situation) -> Iterator[Advice]:
    if at.size.arm64:
        yield Advice(
            code="SIZE-002",
            outcome="noted",
            path=("gpuPool", "vmSize"),
            because=f"a {at.size.name} has Arm64 CPUs ({at.size.cpu_model}): an image without a build for them ends with `exec format "
            "error`, and none of those on GPU nodes was tried there",
            source="planner/catalogue/data/gpu_sizes.csv",
        )


def open_api_server(at: Situation) -> Iterator[Advice]:
    if not at.settings.cluster.private and not at.settings.cluster.authorized_ip_ranges:
        yield Advice(
            code="REACH-001",
            outcome="noted",
            path=("cluster", "authorizedIpRanges"),
            because="every address may reach the API server; who it lets in is up to Entra ID alone. "
            "To close it: the ranges your people and your CI come from, or cluster: {private: true}",
            source="MicrosoftDocs/azure-aks-docs articles/aks/api-server-authorized-ip-ranges.md",
        )


def layers_per_shard(at: Situation) -> Iterator[Advice]:
    sharding, layers = at.settings.sharding, at.shape.layers
    each, rest = divmod(layers, sharding.shards_count)
    if rest == 0 and sharding.layers_per_shard not in (None, each):
        yield Advice(
            code="LAYER-002",
            outcome="adjusted",
            path=("sharding", "layersPerShard"),
            value=each,
            because=f"{sharding.shards_count} shards would hold {sharding.shards_count * (sharding.layers_per_shard or 0)} layers, "
            f"{at.shape.name} has {layers}",
            source="planner/catalogue/data/models.csv",
        )
    if rest and sharding.layers_per_shard is None:
        counts = [str(stage.last_layer - stage.first_layer + 1) for stage in split_layers(layers, sharding.shards_count)]
        yield Advice(
            code="LAYER-003",
            outcome="noted",
            severity="info",
            path=("sharding", "shardsCount"),
            because=f"{layers} layers do not divide by {sharding.shards_count}; the shards hold {', '.join(counts)}, and a pipeline is as "
            "fast as its largest",
            source="planner/catalogue/data/models.csv",
        )


def layer_ranges(at: Situation) -> Iterator[Advice]:
    for index, rule in enumerate(at.settings.sharding.affinity_rules):
        ranges = [re.fullmatch(r"(\d+)-(\d+)", value) for value in rule.values]
        if not ranges or not all(ranges):
            continue
        described = max(int(found[2]) for found in ranges if found) + 1
        if described != at.shape.layers:
            yield Advice(
                code="LAYER-001",
                outcome="adjusted",
                path=("sharding", "affinityRules", index, "values"),
                value=_ranges(at.shape.layers, len(ranges)),
                because=f"the ranges describe {described} layers, {at.shape.name} has {at.shape.layers}",
                source="planner/catalogue/data/models.csv",
            )


def _ranges(layers: int, parts: int) -> list[str]:
    """As many even ranges as there were."""
    first, made = 0, []
    for count in shares(layers, min(parts, layers)):
        made.append(f"{first}-{first + count - 1}")
        first += count
    return made


def balancer_annotations(at: Situation) -> Iterator[Advice]:
    translated = {
        "load-balancer-sku": ("the cluster's networkProfile.loadBalancerSku: standard", "the balancer's SKU is the cluster's"),
        "load-balancer-mode": (
            "sessionAffinity: ClientIP on the Service",
            "the annotation chooses an availability set for the Basic SKU; a client keeps its coordinator by session affinity",
        ),
    }
    for name in at.settings.coordinator.service.annotations:
        if not name.startswith(_AZURE) or _HONOURED.fullmatch(name.removeprefix(_AZURE)):
            continue
        given, because = translated.get(name.removeprefix(_AZURE), ("nothing", "there is no such annotation"))
        yield Advice(
            code="LB-001",
            outcome="translated" if given != "nothing" else "not supported",
            path=("coordinator", "service", "annotations", name),
            given=given,
            because=f"AKS does not read it on a Standard load balancer: {because}",
            source="kubernetes-sigs/cloud-provider-azure site/content/en/topics/loadbalancer.md at a1534ef2",
        )


def balancing_strategy(at: Situation) -> Iterator[Advice]:
    config = at.settings.coordinator.config
    if at.settings.coordinator.service.type == "LoadBalancer" and config.load_balancing_strategy != "random":
        yield Advice(
            code="LB-002",
            outcome="noted",
            severity="info",
            path=("coordinator", "config", "loadBalancingStrategy"),
            because="it is how the coordinator chooses a pipeline; Azure's load balancer in front of it only hashes addresses",
            source="MicrosoftDocs/azure-docs articles/load-balancer/distribution-mode-concepts.md",
        )


def kernel_settings(_: Situation) -> Iterator[Advice]:
    for key in ("hugePages2Mi", "overcommitMemory"):
        yield Advice(
            code="NODE-001",
            outcome="translated",
            severity="info",
            path=("nodeTuning", key),
            given="the DaemonSet node-tuning on each GPU node",
            because="a script in a ConfigMap that nothing runs changes nothing, and AKS's linuxOSConfig has no such setting; the DaemonSet "
            "sets it, reads it back, and only then labels the node",
            source="MicrosoftDocs/azure-aks-docs articles/aks/custom-node-configuration-reference.md (2026-08-19)",
        )


def latency_floor(at: Situation) -> Iterator[Advice]:
    targets, gpus = at.settings.targets, stack_memory.parallel(at.settings, at.gpu, at.shape).tensor
    token_s, weights_gb = stack_memory.token_floor_s(at.settings, at.gpu, at.shape), stack_memory.weights_read_gb(at.settings, at.shape)
    floor_s = token_s * targets.tokens
    if floor_s > targets.latency.seconds:
        yield Advice(
            code="TARGET-001",
            outcome="noted",
            path=("targets", "latency"),
            because=f"each token reads {weights_gb:.1f} GB of weights, layer after layer, at {at.gpu.bandwidth_gb_s * gpus:g} GB/s "
            f"({gpus} {at.gpu.name} at a time): {1000 * token_s:.0f} ms a token, {floor_s:.1f} s for {targets.tokens} tokens at best, "
            f"however many layers a shard holds; the target needs {floor_s / targets.latency.seconds:.1f} times the bandwidth: GPUs that "
            "share each layer (tensor parallel), fewer bits, or newer GPUs",
            source="planner/catalogue/data/gpus.csv, planner/catalogue/data/models.csv",
        )


def one_thread_chooses(at: Situation) -> Iterator[Advice]:
    targets, pipelines = at.settings.targets, at.settings.sharding.pipelines
    token_s = at.shape.vocab * CHOICE_S_PER_WORD.get(at.traits.performs_like, 0.0)
    if token_s * targets.tokens * targets.throughput_rps > pipelines:
        yield Advice(
            code="TARGET-002",
            outcome="noted",
            path=("targets", "throughputRps"),
            because=f"one thread of each pipeline chooses its tokens, each among {at.shape.vocab:,} words in {1000 * token_s:.2f} ms "
            f"(measured): {pipelines / token_s / targets.tokens:.0f} requests/s of {targets.tokens} tokens at best with {pipelines} of "
            "them on any GPU; vllm chooses on the GPU, and did 135 of llama-3-8b on one H100 (measured)",
            source="planner/performance/equations.py, bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json and ..._vllm.json",
        )


RULES = (
    size_is_sold,
    arm64_images,
    open_api_server,
    layers_per_shard,
    layer_ranges,
    balancer_annotations,
    balancing_strategy,
    kernel_settings,
    latency_floor,
    one_thread_chooses,
)
