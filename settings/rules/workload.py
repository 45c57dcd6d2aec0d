"""Rules about the workload: `shard`, `coordinator`, `model`, `sharding`, `monitoring`, `caching`, `autoscaling` and `rollout`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from settings.problems import Problem
from settings.rules.rule import rule
from settings.secrets import HIDDEN, looks_secret
from settings.shard import Resources
from settings.stack import StackSettings

SECRET_FIX = (
    "put it into a Kubernetes Secret in the service's namespace and refer to it: valueFrom: {secretKeyRef: {name: my-secret, key: my-key}}"
)


@rule("shard")
def shard_resources(settings: StackSettings) -> Iterator[Problem]:
    """A shard's requests are within its limits."""
    yield from _requests_within_limits("shard.resources", settings.shard.resources)


@rule("coordinator")
def coordinator_resources(settings: StackSettings) -> Iterator[Problem]:
    """The coordinator's requests are within its limits, and it has no GPU."""
    yield from _requests_within_limits("coordinator.resources", settings.coordinator.resources)
    if settings.coordinator.resources.requests.nvidia_gpu or settings.coordinator.resources.limits.nvidia_gpu:
        yield Problem(
            key="coordinator.resources",
            value="nvidia.com/gpu",
            consequence="the coordinator runs no model: a GPU would be paid for and idle",
            fix="GPUs under shard.resources only",
        )


def _requests_within_limits(key: str, resources: Resources) -> Iterator[Problem]:
    requests, limits = resources.requests, resources.limits
    for name in ("memory", "cpu"):
        asked, most = getattr(requests, name), getattr(limits, name)
        if asked is not None and most is not None and asked.amount > most.amount:
            yield Problem(
                key=f"{key}.requests.{name}",
                value=asked,
                consequence=f"is above {key}.limits.{name} ({most}), so Kubernetes would refuse the pod",
                fix=f'at most "{most}", or a higher limit',
            )
    if requests.nvidia_gpu is not None and requests.nvidia_gpu != limits.nvidia_gpu:
        yield Problem(
            key=f"{key}.requests.nvidia.com/gpu",
            value=str(requests.nvidia_gpu),
            consequence=f"{key}.limits.nvidia.com/gpu is {'missing' if limits.nvidia_gpu is None else limits.nvidia_gpu}: "
            "Kubernetes refuses a GPU request that differs from the limit",
            fix="the same number in requests and limits",
        )


METHODS = {
    "fp8": ("fp8",),
    "mxfp4": ("mxfp4",),
    "awq": ("int4",),
    "gptq": ("int4", "int8"),
    "modelopt": ("fp8",),
    "modelopt_fp4": ("nvfp4",),
    "compressed-tensors": ("fp8", "int8", "int4", "nvfp4", "mxfp4"),
}
"""The precisions in which each method stores weights."""


@rule("model")
def method_of_the_precision(settings: StackSettings) -> Iterator[Problem]:
    """A method stores weights in precisions of its own."""
    quantization = settings.model.quantization
    if quantization.method is None:
        return
    stored = METHODS[quantization.method]
    if not quantization.enabled or quantization.precision not in stored:
        asked = quantization.precision if quantization.enabled else "16 bits, as model.quantization.enabled is false"
        yield Problem(
            key="model.quantization.method",
            value=quantization.method,
            consequence=f"stores weights in {' or '.join(stored)}, but the precision is {asked}: memory would be planned for other weights "
            "than the server loads",
            fix=f"model.quantization.precision: {stored[0]}, or leave the method out",
        )


@rule("shard")
def env_names_are_unique(settings: StackSettings) -> Iterator[Problem]:
    """Each environment variable is listed once."""
    places = defaultdict(list)
    for index, variable in enumerate(settings.shard.env):
        places[variable.name].append(f"shard.env[{index}]")
    for name, found in places.items():
        if len(found) > 1:
            yield Problem(
                key=f"shard.env.{name}",
                value=f"at {' and '.join(found)}",
                consequence="is listed more than once: only the last would reach the server, and server-side apply refuses such a list",
                fix="keep one of them",
            )


@rule("shard")
def env_holds_no_credentials(settings: StackSettings) -> Iterator[Problem]:
    """No environment variable contains a credential as plain text."""
    for variable in settings.shard.env:
        if variable.value is not None and looks_secret(variable.value, variable.name):
            yield Problem(
                key=f"shard.env.{variable.name}",
                value=HIDDEN,
                consequence="looks like a credential: anyone who can read the stack file, the pod or Pulumi's state could read it",
                fix=SECRET_FIX,
            )


@rule("coordinator")
def connection_pool_fits(settings: StackSettings) -> Iterator[Problem]:
    """The connection pool is at most as large as the number of connections."""
    config = settings.coordinator.config
    if config.connection_pool_size > config.max_connections:
        yield Problem(
            key="coordinator.config.connectionPoolSize",
            value=str(config.connection_pool_size),
            consequence=f"is above coordinator.config.maxConnections ({config.max_connections}), so the pool could never fill",
            fix=f"at most {config.max_connections}",
        )


@rule("coordinator", "model")
def batches_fit_the_compiled_model(settings: StackSettings) -> Iterator[Problem]:
    """A batch is at most as large as the compiled model accepts."""
    batching, compiled = settings.coordinator.config.dynamic_batching, settings.model.compilation.tensorrt
    if batching.enabled and compiled.enabled and batching.max_batch_size > compiled.max_batch_size:
        yield Problem(
            key="coordinator.config.dynamicBatching.maxBatchSize",
            value=str(batching.max_batch_size),
            consequence=f"is above model.compilation.tensorrt.maxBatchSize ({compiled.max_batch_size}), "
            "so the compiled model would refuse larger batches",
            fix=f"at most {compiled.max_batch_size}, or a higher model.compilation.tensorrt.maxBatchSize",
        )


@rule("sharding")
def affinity_rules_make_sense(settings: StackSettings) -> Iterator[Problem]:
    """An affinity rule has values exactly if its operator needs them."""
    for index, affinity in enumerate(settings.sharding.affinity_rules):
        needs_values = affinity.operator in ("In", "NotIn")
        if needs_values != bool(affinity.values):
            yield Problem(
                key=f"sharding.affinityRules[{index}].values",
                value="[...]" if affinity.values else "[]",
                consequence=f"Kubernetes refuses the operator {affinity.operator} {'without' if needs_values else 'with'} values",
                fix="at least one value" if needs_values else "no values",
            )


@rule("monitoring")
def metrics_are_unique(settings: StackSettings) -> Iterator[Problem]:
    """Each metric is listed once."""
    names = [metric.name for metric in settings.monitoring.metrics]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield Problem(
                key="monitoring.metrics",
                value=name,
                consequence=f"is listed {names.count(name)} times, so it is unclear which interval is meant",
                fix="keep one of them",
            )


_MAIL = ("to", "from", "smarthost")


@rule("monitoring")
def receivers_can_be_reached(settings: StackSettings) -> Iterator[Problem]:
    """Each receiver has a name of its own, and what its kind needs; there is something that it can hear of."""
    receivers = settings.monitoring.receivers
    names = [one.name for one in receivers]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            consequence = f"is the name of {names.count(name)} receivers, so it is unclear which one is meant"
            yield Problem(key="monitoring.receivers", value=name, consequence=consequence, fix="another name for each")
    for one in receivers:
        given = dict(zip(_MAIL, (one.to, one.sender, one.smarthost), strict=True))
        for field, value in given.items():
            key = f"monitoring.receivers.{one.name}.{field}"
            if one.kind == "email" and value is None:
                yield Problem(key=key, value="not set", consequence="is needed to send mail, so no alert would arrive", fix="set it")
            elif one.kind != "email" and value is not None:
                yield Problem(key=key, value=value, consequence=f"has no effect for kind {one.kind}", fix="remove it, or kind: email")
    if receivers and not settings.monitoring.enabled:
        yield Problem(
            key="monitoring.receivers",
            value=", ".join(names),
            consequence="would hear of nothing, because monitoring.enabled: false leaves out what evaluates alerts",
            fix="monitoring: {enabled: true}, or no receivers",
        )


@rule("autoscaling", "sharding")
def pipelines_are_within_bounds(settings: StackSettings) -> Iterator[Problem]:
    """The autoscaler's bounds are in order and contain the number of pipelines."""
    scaling, pipelines = settings.autoscaling, settings.sharding.pipelines
    if scaling.min_pipelines > scaling.max_pipelines:
        yield Problem(
            key="autoscaling.minPipelines",
            value=str(scaling.min_pipelines),
            consequence=f"is above autoscaling.maxPipelines ({scaling.max_pipelines}), so Kubernetes would refuse the autoscaler",
            fix=f"at most {scaling.max_pipelines}",
        )
    elif scaling.enabled and not scaling.min_pipelines <= pipelines <= scaling.max_pipelines:
        yield Problem(
            key="sharding.pipelines",
            value=str(pipelines),
            consequence="is outside the autoscaler's bounds, so the autoscaler would change it at once",
            fix=f"a number from {scaling.min_pipelines} (autoscaling.minPipelines) to {scaling.max_pipelines} (autoscaling.maxPipelines)",
        )


@rule("autoscaling", "monitoring")
def autoscaler_has_something_to_ask(settings: StackSettings) -> Iterator[Problem]:
    """An autoscaler has a Prometheus to read its metrics from."""
    if settings.autoscaling.enabled and not settings.monitoring.enabled:
        yield Problem(
            key="autoscaling.enabled",
            value="true",
            consequence="the autoscaler reads this cluster's Prometheus, which monitoring.enabled: false leaves out, so it would never "
            "scale",
            fix="monitoring: {enabled: true}, or autoscaling: {enabled: false}",
        )


@rule("rollout")
def rollout_can_proceed(settings: StackSettings) -> Iterator[Problem]:
    """A rollout may stop or add at least one pipeline."""
    if settings.rollout.max_unavailable_pipelines == 0 and settings.rollout.max_surge_pipelines == 0:
        yield Problem(
            key="rollout.maxUnavailablePipelines",
            value="0",
            consequence="maxSurgePipelines is 0 as well, so no pipeline may stop and none may be added: a new version could never start",
            fix="at least 1 for one of the two",
        )


RULES = (
    shard_resources,
    coordinator_resources,
    env_names_are_unique,
    env_holds_no_credentials,
    connection_pool_fits,
    batches_fit_the_compiled_model,
    affinity_rules_make_sense,
    metrics_are_unique,
    receivers_can_be_reached,
    pipelines_are_within_bounds,
    autoscaler_has_something_to_ask,
    rollout_can_proceed,
)
