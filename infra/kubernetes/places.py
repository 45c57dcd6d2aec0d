"""Where the settings are in Kubernetes: key, object, field. Pure; the names are those of `names.py`."""

from __future__ import annotations

import math
from dataclasses import replace

from engines.workload import Role, Workload
from infra.kubernetes import engine_places, names, zones
from infra.kubernetes.monitoring import prometheus_config, prometheus_rules
from infra.place import Lines, Place, Resource
from planner.engine_facts import traits
from planner.fit.placement import ZONE
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import below, path_text
from settings.error_messages import key_text
from settings.flatten import leaves

_SHARDS = Resource("LeaderWorkerSet", f"{names.SERVICE_NAMESPACE}/{names.SHARD}")
_COORDINATOR = Resource("Deployment", f"{names.SERVICE_NAMESPACE}/{names.COORDINATOR}")
_SERVICE = Resource("Service", f"{names.SERVICE_NAMESPACE}/{names.COORDINATOR_SERVICE}")
_AUTOSCALER = Resource("ScaledObject", f"{names.SERVICE_NAMESPACE}/{names.SHARD}")
_PROMETHEUS = Resource("Deployment", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
_CONTAINER = "spec.template.spec.containers[0]"
_GROUP = "spec.leaderWorkerTemplate"
_ANNOTATIONS = "coordinator.service.annotations"
_AZURE = "service.beta.kubernetes.io/azure-load-balancer"


def lines(plan: Plan, workload: Workload) -> Lines:
    """All that is in the cluster because of a setting, but for what the engine says."""
    settings = plan.settings
    yield from _shards(plan, workload)
    yield from _front_door(settings)
    yield from _autoscaling(plan)
    yield from _node_agents(settings)
    yield from _monitoring(settings)
    yield from _load_test(settings)
    yield from _profiling(settings)
    yield from _weights(plan)


def _shards(plan: Plan, workload: Workload) -> Lines:
    settings = plan.settings
    yield "sharding.shardsCount", _SHARDS(f"{_GROUP}.size")
    if not settings.autoscaling.enabled:
        yield "sharding.pipelines", _SHARDS("spec.replicas")
    for role in _shard_roles(workload):
        pod = engine_places.pod(workload, role)
        yield "shard.env", _SHARDS(f"{pod}.containers[0].env")
        yield "shard.nodeSelector", _SHARDS(f"{pod}.nodeSelector")
        for label in settings.shard.node_selector:
            yield key_text(("shard", "nodeSelector", label)), _SHARDS(below(f"{pod}.nodeSelector", label))
        yield from _spread(plan, pod)
        grace_seconds = math.ceil(settings.rollout.termination_grace.seconds)
        yield "rollout.terminationGrace", _SHARDS(f"{pod}.terminationGracePeriodSeconds", grace_seconds)
    rollout = "spec.rolloutStrategy.rollingUpdateConfiguration"
    yield "rollout.maxUnavailablePipelines", _SHARDS(f"{rollout}.maxUnavailable")
    yield "rollout.maxSurgePipelines", _SHARDS(f"{rollout}.maxSurge")
    yield "rollout.terminationGrace", _COORDINATOR("spec.template.spec.terminationGracePeriodSeconds", grace_seconds)
    yield "azure.weightsSize", Resource("PersistentVolume", "zig-ai-weights")("spec.capacity.storage")


def _shard_roles(workload: Workload) -> tuple[Role, ...]:
    return ("shard", "worker") if workload.worker else ("shard",)


def _spread(plan: Plan, pod: str) -> Lines:
    """Constraints are made anew when pipelines stay in one zone: found by key and rule, as Kubernetes takes one of each."""
    asked = plan.settings.shard.topology_spread_constraints
    field = f"{pod}.topologySpreadConstraints"
    yield "shard.topologySpreadConstraints", _SHARDS(field)
    # Which zones there are changes nothing about the constraints.
    made = zones.spread_constraints(asked, tuple(plan.settings.gpu_pool.zones) if plan.pipeline_in_one_zone else ())
    rules = [(constraint["topologyKey"], constraint["whenUnsatisfiable"]) for constraint in made]
    for index, constraint in enumerate(asked):
        place = rules.index((constraint.topology_key, constraint.when_unsatisfiable))
        counts_pipelines = plan.pipeline_in_one_zone and constraint.topology_key == ZONE
        for name in ("maxSkew", "topologyKey", "whenUnsatisfiable"):
            key = f"shard.topologySpreadConstraints[{index}].{name}"
            there = _SHARDS(f"{field}[{place}].{name}", made[place][name])
            if counts_pipelines:
                there = replace(
                    there,
                    outcome="translated",
                    given=there.holds or "",
                    because="the constraint counts pipelines, by their first shards, instead of shards",
                    source="infra/kubernetes/zones.py",
                )
            yield key, there


def _front_door(settings: StackSettings) -> Lines:
    coordinator, exposure = settings.coordinator, settings.exposure
    yield "coordinator.replicas", _COORDINATOR("spec.replicas")
    yield "coordinator.service.type", _SERVICE("spec.type")
    yield _ANNOTATIONS, _SERVICE("metadata.annotations")
    for name in coordinator.service.annotations:
        if name not in (f"{_AZURE}-sku", f"{_AZURE}-mode"):
            yield key_text((*_ANNOTATIONS.split("."), name)), _SERVICE(path_text("metadata", "annotations", name))
    yield f"{_ANNOTATIONS}.{_AZURE}-mode", _SERVICE("spec.sessionAffinity", "ClientIP")
    if coordinator.service.type == "LoadBalancer":
        internal = path_text("metadata", "annotations", f"{_AZURE}-internal")
        yield "exposure.public", _SERVICE(internal, "false" if exposure.public else "true")
        yield "exposure.allowedIpRanges", _SERVICE("spec.loadBalancerSourceRanges")
    else:
        clients = Resource("NetworkPolicy", f"{names.SERVICE_NAMESPACE}/{names.COORDINATOR}")
        network = None if exposure.public else settings.azure.network.address_space
        yield "exposure.public", clients(f"spec.ingress[0].from[{len(exposure.allowed_ip_ranges)}].ipBlock.cidr", network)
        yield "exposure.allowedIpRanges", clients("spec.ingress[0].from[*].ipBlock.cidr")


def _autoscaling(plan: Plan) -> Lines:
    autoscaling = plan.settings.autoscaling
    if plan.scaling is None:
        yield "autoscaling.enabled", _AUTOSCALER("", None)
        return
    cooldown_seconds = min(3600, math.ceil(autoscaling.cooldown.seconds))
    behaviour = "spec.advanced.horizontalPodAutoscalerConfig.behavior"
    yield "autoscaling.enabled", _AUTOSCALER("spec.scaleTargetRef.name", names.SHARD)
    yield "autoscaling.minPipelines", _AUTOSCALER("spec.minReplicaCount")
    yield "autoscaling.maxPipelines", _AUTOSCALER("spec.maxReplicaCount")
    threshold = "spec.triggers[0].metadata.threshold"
    yield "autoscaling.requestsPerPipeline", _AUTOSCALER(threshold, str(plan.scaling.requests_per_pipeline))
    yield "autoscaling.pollInterval", _AUTOSCALER("spec.pollingInterval", math.ceil(autoscaling.poll_interval.seconds))
    yield "autoscaling.cooldown", _AUTOSCALER(f"{behaviour}.scaleDown.stabilizationWindowSeconds", cooldown_seconds)
    # How many run at least while the autoscaler cannot ask.
    least = plan.scaling.fallback_pipelines
    yield "sharding.pipelines", _AUTOSCALER("spec.fallback", None) if least is None else _AUTOSCALER("spec.fallback.replicas")


def _node_agents(settings: StackSettings) -> Lines:
    tuning = Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.NODE_TUNING}")
    plugin = Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.DEVICE_PLUGIN}")
    controller = Resource("Pulumi resource", "lws")
    yield "nodeTuning.hugePages2Mi", tuning(f"{_CONTAINER}.env[HUGE_PAGES_2MI].value")
    yield "nodeTuning.transparentHugePages", tuning(f"{_CONTAINER}.env[THP].value")
    yield "nodeTuning.overcommitMemory", tuning(f"{_CONTAINER}.env[OVERCOMMIT_MEMORY].value")
    yield "nodeTuning.overcommitRatio", tuning(f"{_CONTAINER}.env[OVERCOMMIT_RATIO].value")
    yield "images.nodeTuning", tuning(f"{_CONTAINER}.image")
    yield "images.devicePlugin", plugin(f"{_CONTAINER}.image")
    yield "cluster.leaderWorkerSetChart", controller("chart")
    yield "cluster.leaderWorkerSetVersion", controller("values.image.manager.tag", f"v{settings.cluster.leader_worker_set_version}")


def _monitoring(settings: StackSettings) -> Lines:
    monitoring, targets = settings.monitoring, settings.targets
    if not monitoring.enabled:
        yield "monitoring.enabled", _PROMETHEUS("", None)
        return
    config = Resource("ConfigMap", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
    disk = Resource("PersistentVolumeClaim", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
    exporter = Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.GPU_METRICS}")
    jobs = 'data["prometheus.yml"].scrape_configs'
    retention = f"--storage.tsdb.retention.time={prometheus_config.interval(monitoring.retention)}"
    yield "monitoring.enabled", _PROMETHEUS("spec.replicas", 1)
    yield "monitoring.metrics", config(jobs)
    for metric in monitoring.metrics:
        interval = prometheus_config.interval(metric.interval)
        yield f"monitoring.metrics.{metric.name}", config(f"{jobs}[{metric.name}].scrape_interval", interval)
    yield "monitoring.retention", _PROMETHEUS(f"{_CONTAINER}.args[2]", retention)
    yield "monitoring.storage", disk("spec.resources.requests.storage")
    yield "images.prometheus", _PROMETHEUS(f"{_CONTAINER}.image")
    yield "images.gpuMetrics", exporter(f"{_CONTAINER}.image")
    alerts, fraction = 'data["rules.yml"].groups[zig-ai-alerts].rules', settings.shard.config.gpu_memory_fraction
    yield "targets.latency", config(f"{alerts}[ZigAiLatencyAboveTarget].expr", prometheus_rules.latency_missed(targets))
    beyond = prometheus_rules.gpu_memory_beyond_plan(fraction)
    yield "shard.config.gpuMemoryFraction", config(f"{alerts}[ZigAiGpuMemoryBeyondPlan].expr", beyond, outcome="passed through")
    for key, series, value in (
        ("throughputRps", "zig_ai:target:throughput_rps", targets.throughput_rps),
        ("gpuUtilization", "zig_ai:target:gpu_utilization:ratio", targets.gpu_utilization.fraction),
        ("gpuMemory", "zig_ai:target:gpu_memory:ratio", targets.gpu_memory.fraction),
    ):
        yield f"targets.{key}", config(f'data["rules.yml"].groups[zig-ai-targets].rules[{series}].expr', f"vector({value:g})")


def _load_test(settings: StackSettings) -> Lines:
    config = Resource("ConfigMap", f"{names.SERVICE_NAMESPACE}/{names.LOAD_TEST}")
    template = Resource("CronJob", f"{names.SERVICE_NAMESPACE}/{names.LOAD_TEST}")
    test = settings.load_test
    file = 'data["config.json"]'
    yield "loadTest.concurrentUsers", config(f"{file}.concurrentUsers")
    for key, duration in (("duration", test.duration), ("rampUp", test.ramp_up), ("rampDown", test.ramp_down)):
        # k6 does not know days.
        yield f"loadTest.{key}", config(f"{file}.{key}", f"{duration.seconds:g}s")
    yield "loadTest.prompt", config(f"{file}.request.prompt")
    yield "loadTest.maxTokens", config(f"{file}.request.max_tokens")
    yield "loadTest.temperature", config(f"{file}.request.temperature")
    yield "targets.latency", config(f"{file}.thresholds.http_req_duration[0]", f"p(95)<{round(settings.targets.latency.seconds * 1000)}")
    yield "images.loadTest", template("spec.jobTemplate.spec.template.spec.containers[0].image")


def _profiling(settings: StackSettings) -> Lines:
    """The file is mounted into the shards, whose own profiler reads it."""
    config = Resource("ConfigMap", f"{names.SERVICE_NAMESPACE}/{names.PROFILING_CONFIG}")
    for key in leaves(settings):
        if key.startswith("profiling."):
            yield key, config(path_text("data", "profiling.yaml", *key.split(".")), outcome="passed through")


def _weights(plan: Plan) -> Lines:
    settings = plan.settings
    copy = Resource("DaemonSet", f"{names.NODE_AGENTS_NAMESPACE}/{names.WEIGHTS_COPY}")
    if plan.weights.on_node:
        volume = Resource("PersistentVolume", names.node_weights_claim(plan.weights.folder))
        yield "caching.l2Cache.enabled", copy(f"{_CONTAINER}.env[FOLDER].value", plan.weights.folder)
        yield "caching.l2Cache.size", volume("spec.capacity.storage")
        yield "caching.l2Cache.persistent", _lasting(volume, plan)
    elif not traits(settings.engine).own_weight_cache:
        asked = settings.caching.l2_cache.enabled
        known = {"outcome": "not supported", "because": "without model.source there is nothing to copy"} if asked else {}
        for name in ("enabled", "size", "persistent"):
            yield f"caching.l2Cache.{name}", copy("", None, **known)
    if settings.model.source is None:
        return
    fetch = Resource("Job", f"{names.SERVICE_NAMESPACE}/{names.WEIGHTS_FETCH}-*")
    token = f"{_CONTAINER}.env[TOKEN].valueFrom.secretKeyRef"
    yield "model.source", fetch(f"{_CONTAINER}.env[SOURCE].value")
    yield "model.tokenSecret.name", fetch(f"{token}.name")
    yield "model.tokenSecret.key", fetch(f"{token}.key")
    yield "images.weights", fetch(f"{_CONTAINER}.image")
    if retention := settings.rollout.weights_retention:
        told, seconds = "env[RETENTION_SECONDS].value", str(round(retention.seconds))
        forget = Resource("CronJob", f"{names.SERVICE_NAMESPACE}/{names.WEIGHTS_RETENTION}")
        yield "rollout.weightsRetention", forget(f"spec.jobTemplate.{_CONTAINER}.{told}", seconds)
        if plan.weights.on_node:
            yield "rollout.weightsRetention", copy(f"{_CONTAINER}.{told}", seconds)


def _lasting(volume: Resource, plan: Plan) -> Place:
    path = f"{names.NODE_WEIGHTS_DIR}/{plan.weights.folder}"
    if plan.settings.caching.l2_cache.persistent:
        return volume("spec.hostPath.path", path)
    because = "the node's copy is shared by all of its pods, those of the next version too, and goes with the node"
    return volume(
        "spec.hostPath.path", path, outcome="translated", given="true", because=because, source="docs/adr/0008-weights-arrive-once.md"
    )
