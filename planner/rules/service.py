"""The VM size, the model's layers, the load balancer, the nodes' kernel and the targets."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.fit import stack_memory
from planner.fit.layers import split_layers
from planner.fit.placement import shares
from planner.fit.plan import Finding
from planner.performance.equations import CHOICE_S_PER_WORD
from planner.rules.rule import RuleContext, Rules
from settings.wording import count

RULES = Rules()

CURRENT_SIZE = "Standard_NC24ads_A100_v4"
"""The size that replaces a retired one in one line: the smallest data-centre GPU size of the catalogue that Azure still sells."""

_AZURE = "service.beta.kubernetes.io/azure-"
# The annotations that AKS's cloud provider reads. Source: kubernetes-sigs/cloud-provider-azure site/content/en/topics/loadbalancer.md at
# a1534ef2 and # pkg/consts/consts.go at 7b31c76c; MicrosoftDocs/azure-aks-docs articles/aks/configure-load-balancer-standard.md at
# ccbb339b.
_HONOURED = re.compile(
    "load-balancer-(internal|internal-subnet|resource-group|tcp-idle-timeout|disable-tcp-reset|ipv4|ipv6|configurations"
    "|health-probe-(interval|num-of-probe|request-path|protocol)|enable-high-availability-ports)"
    "|dns-label-name|allowed-service-tags|allowed-ip-ranges|pip-(name|prefix-id)(-ipv6)?|pip-tags|pip-ip-tags"
    "|deny-all-except-load-balancer-source-ranges|additional-public-ips|disable-load-balancer-floating-ip|disable-load-balancer-nsg-rule"
    "|pls-[a-z-]+"
)


@RULES.rule
def size_is_sold(context: RuleContext) -> Iterator[Finding]:
    """A retired VM size is noted, with the one line that replaces it."""
    if context.size.retired_on:
        yield Finding(
            code="SIZE-001",
            outcome="noted",
            path=("gpuPool", "vmSize"),
            because=f"Azure retired this size on {context.size.retired_on}: existing nodes may go on running, but no new ones can be "
            f"created in public regions. To switch, set gpuPool: {{vmSize: {CURRENT_SIZE}}}",
            source="MicrosoftDocs/azure-compute-docs articles/virtual-machines/ncv3-retirement.md@11277ad7",
        )


@RULES.rule
def arm64_images(context: RuleContext) -> Iterator[Finding]:
    """Arm64 CPUs need images that were built for them."""
    if context.size.arm64:
        yield Finding(
            code="SIZE-002",
            outcome="noted",
            path=("gpuPool", "vmSize"),
            because=f"a {context.size.name} has Arm64 CPUs ({context.size.cpu_model}): an image that was not built for them fails with "
            "`exec format error`, and none of the images on GPU nodes has been tried there",
            source="planner/catalogue/data/gpu_sizes.csv",
        )


@RULES.rule
def open_api_server(context: RuleContext) -> Iterator[Finding]:
    """An API server that answers every address is noted."""
    if not context.settings.cluster.private and not context.settings.cluster.authorized_ip_ranges:
        yield Finding(
            code="REACH-001",
            outcome="noted",
            path=("cluster", "authorizedIpRanges"),
            because="every address can reach the API server, and only Entra ID decides who gets in. To close it, list the address ranges "
            "of your people and your CI, or set cluster: {private: true}",
            source="MicrosoftDocs/azure-aks-docs articles/aks/api-server-authorized-ip-ranges.md",
        )


@RULES.rule
def way_out_in_one_zone(context: RuleContext) -> Iterator[Finding]:
    """A stack in several zones has its only way out in one of them."""
    cluster = context.settings.cluster
    if len(cluster.zones) > 1:
        public = ", or reaches the API server, which is public; cluster: {private: true} takes that off this way"
        yield Finding(
            code="REACH-004",
            severity="info",
            outcome="noted",
            path=("cluster", "zones"),
            because="the NAT gateway, through which all nodes reach the internet, lies in one zone that Azure chooses. While that zone is "
            f"lost, pods that run go on, but no node pulls an image or renews a login{'' if cluster.private else public}",
            source="MicrosoftDocs/azure-docs articles/nat-gateway/nat-availability-zones.md",
        )


@RULES.rule
def layers_per_shard(context: RuleContext) -> Iterator[Finding]:
    """The shards must hold all layers of the model, and as evenly as they divide."""
    sharding, layers = context.settings.sharding, context.shape.layers
    each, rest = divmod(layers, sharding.shards_count)
    if rest == 0 and sharding.layers_per_shard not in (None, each):
        yield Finding(
            code="LAYER-002",
            outcome="adjusted",
            path=("sharding", "layersPerShard"),
            value=each,
            because=f"{sharding.shards_count} shards would hold {sharding.shards_count * (sharding.layers_per_shard or 0)} layers, but "
            f"{context.shape.name} has {layers}",
            source="planner/catalogue/data/models.csv",
        )
    if rest and sharding.layers_per_shard is None:
        counts = [str(stage.last_layer - stage.first_layer + 1) for stage in split_layers(layers, sharding.shards_count)]
        yield Finding(
            code="LAYER-003",
            outcome="noted",
            severity="info",
            path=("sharding", "shardsCount"),
            because=f"{layers} layers do not divide evenly by {sharding.shards_count}: the shards hold {', '.join(counts)}, and a pipeline "
            "is only as fast as its largest shard",
            source="planner/catalogue/data/models.csv",
        )


@RULES.rule
def layer_ranges(context: RuleContext) -> Iterator[Finding]:
    """The affinity rules' layer ranges must cover the model's layers."""
    for index, rule in enumerate(context.settings.sharding.affinity_rules):
        ranges = [re.fullmatch(r"(\d+)-(\d+)", value) for value in rule.values]
        if not ranges or not all(ranges):
            continue
        described = max(int(match[2]) for match in ranges if match) + 1
        if described != context.shape.layers:
            yield Finding(
                code="LAYER-001",
                outcome="adjusted",
                path=("sharding", "affinityRules", index, "values"),
                value=_ranges(context.shape.layers, len(ranges)),
                because=f"the ranges describe {described} layers, but {context.shape.name} has {context.shape.layers}",
                source="planner/catalogue/data/models.csv",
            )


def _ranges(layers: int, parts: int) -> list[str]:
    """Splits the layers into even ranges, at most `parts` of them."""
    first, ranges = 0, []
    for number in shares(layers, min(parts, layers)):
        ranges.append(f"{first}-{first + number - 1}")
        first += number
    return ranges


@RULES.rule
def balancer_annotations(context: RuleContext) -> Iterator[Finding]:
    """An annotation that AKS does not read is replaced by what does the same there, if anything does."""
    translated = {
        "load-balancer-sku": ("the cluster's networkProfile.loadBalancerSku: standard", "the cluster decides the balancer's SKU"),
        "load-balancer-mode": (
            "sessionAffinity: ClientIP on the Service",
            "the annotation chooses an availability set for the Basic SKU; session affinity keeps a client at its coordinator",
        ),
    }
    for name in context.settings.coordinator.service.annotations:
        if not name.startswith(_AZURE) or _HONOURED.fullmatch(name.removeprefix(_AZURE)):
            continue
        given, because = translated.get(name.removeprefix(_AZURE), ("nothing", "there is no such annotation"))
        yield Finding(
            code="LB-001",
            outcome="translated" if given != "nothing" else "not supported",
            path=("coordinator", "service", "annotations", name),
            given=given,
            because=f"AKS does not read it on a Standard load balancer: {because}",
            source="kubernetes-sigs/cloud-provider-azure site/content/en/topics/loadbalancer.md at a1534ef2",
        )


@RULES.rule
def balancing_strategy(context: RuleContext) -> Iterator[Finding]:
    """Says where the strategy is in effect: in the coordinator, not in Azure's load balancer."""
    config = context.settings.coordinator.config
    if context.settings.coordinator.service.type == "LoadBalancer" and config.load_balancing_strategy != "random":
        yield Finding(
            code="LB-002",
            outcome="noted",
            severity="info",
            path=("coordinator", "config", "loadBalancingStrategy"),
            because="the coordinator chooses a pipeline by this strategy; Azure's load balancer in front of it only hashes addresses",
            source="MicrosoftDocs/azure-docs articles/load-balancer/distribution-mode-concepts.md",
        )


@RULES.rule
def kernel_settings(_: RuleContext) -> Iterator[Finding]:
    """Says how kernel settings reach the nodes."""
    for key in ("hugePages2Mi", "overcommitMemory"):
        yield Finding(
            code="NODE-001",
            outcome="translated",
            severity="info",
            path=("nodeTuning", key),
            given="the DaemonSet node-tuning on each GPU node",
            because="AKS's linuxOSConfig has no such setting, and a script in a ConfigMap has no effect, as nothing runs it; the DaemonSet "
            "sets the value, reads it back, and only then labels the node",
            source="MicrosoftDocs/azure-aks-docs articles/aks/custom-node-configuration-reference.md (2026-08-19)",
        )


@RULES.rule
def latency_floor(context: RuleContext) -> Iterator[Finding]:
    """Says when the latency target is below what the GPUs' memory bandwidth allows."""
    settings, gpu = context.settings, context.gpu
    targets, gpus = settings.targets, stack_memory.parallel(settings, gpu, context.shape).tensor
    token_s, weights_gb = stack_memory.token_floor_s(settings, gpu, context.shape), stack_memory.weights_read_gb(settings, context.shape)
    floor_s = token_s * targets.tokens
    if floor_s > targets.latency.seconds:
        yield Finding(
            code="TARGET-001",
            outcome="noted",
            path=("targets", "latency"),
            because=f"each token reads {weights_gb:.1f} GB of weights, layer after layer, at {gpu.bandwidth_gb_s * gpus:g} GB/s "
            f"({gpus} {gpu.name} at a time): {1000 * token_s:.0f} ms a token, {floor_s:.1f} s for {targets.tokens} tokens at best, "
            f"however many layers a shard holds. The target needs {floor_s / targets.latency.seconds:.1f} times the bandwidth: more GPUs "
            "that share each layer (tensor parallelism), weights in fewer bits, or newer GPUs",
            source="planner/catalogue/data/gpus.csv, planner/catalogue/data/models.csv",
        )


@RULES.rule
def one_thread_chooses(context: RuleContext) -> Iterator[Finding]:
    """Says when the throughput target is above what an engine that chooses tokens on one host thread can reach."""
    targets, pipelines = context.settings.targets, context.settings.sharding.pipelines
    token_s = context.shape.vocab * CHOICE_S_PER_WORD.get(context.traits.performs_like, 0.0)
    if token_s * targets.tokens * targets.throughput_rps > pipelines:
        yield Finding(
            code="TARGET-002",
            outcome="noted",
            path=("targets", "throughputRps"),
            because=f"one thread of each pipeline chooses its tokens, each among {context.shape.vocab:,} words in {1000 * token_s:.2f} ms "
            f"(measured): {pipelines / token_s / targets.tokens:.0f} requests/s of {targets.tokens} tokens at best with "
            f"{count(pipelines, 'pipeline')}, on any GPU; vllm chooses on the GPU, and served 135 requests/s of llama-3-8b on one H100 "
            "(measured)",
            source="planner/performance/equations.py, bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json and ..._vllm.json",
        )
