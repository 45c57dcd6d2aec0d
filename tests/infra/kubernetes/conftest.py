"""The Kubernetes side of a stack, deployed under the mocks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from engines import ENGINES
from engines.workload import Workload
from infra.endpoints import endpoints
from infra.kubernetes.azure_inputs import AzureInputs
from planner import plan as make_plan
from planner.fit.plan import Plan
from settings import StackSettings, files
from tests.mocks import Recorder, RecordingMonitor, run


def settings_of(stack: str) -> StackSettings:
    checked = files.from_file(files.stack_file_path(stack), stack)
    assert checked.settings is not None, checked.problems
    return checked.settings


LOCKS = {
    ("exposure", "tls"): {"secretName": "front-door", "clientCaSecretName": "clients"},
    ("exposure", "apiKeys"): {"secretName": "keys"},
}


def changed(settings: StackSettings, section: str, **values: Any) -> StackSettings:
    """The settings with some attributes of one section set."""
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update=values)})


def render(settings: StackSettings, plan: Plan) -> Workload:
    addresses = endpoints(plan, registry="registry.example", redis="redis.example" if plan.redis_sku else None)
    return ENGINES[settings.engine].render(settings, plan, addresses)


@dataclasses.dataclass(frozen=True)
class Deployed:
    settings: StackSettings
    plan: Plan
    workload: Workload
    recorder: Recorder
    endpoint: Any

    def inputs(self, type_: str, name: str) -> dict[str, Any]:
        """The inputs of the only object with that Kubernetes name."""
        [found] = [r.inputs for r in self.recorder.all(type_) if r.inputs["metadata"]["name"] == name]
        return found


def deploy_settings(settings: StackSettings) -> Deployed:
    """Deploys under fresh mocks; the Azure side is literals, and one resource that stands for the GPU pool."""
    import pulumi_kubernetes as k8s

    from infra.kubernetes import platform

    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="zig-ai-aks", stack="test", preview=False, monitor=RecordingMonitor(recorder))
    plan = make_plan(settings)
    settings = plan.settings
    workload = render(settings, plan)

    def program() -> Any:
        azure = AzureInputs(
            coordinator_client_id="client of coordinator",
            shard_client_id="client of shard",
            fetch_client_id="client of fetch" if plan.weights.source else None,
            copy_client_id="client of copy" if plan.weights.on_node else None,
            weights_account="weightsaccount",
            weights_container="weights",
            weights_resource_group="rg",
            gpu_nodes=(pulumi.CustomResource("test:test:Pool", "gpu-pool", {}),),
            needed_to_serve=(pulumi.CustomResource("test:test:Redis", "redis", {}),),
        )
        return platform.deploy(settings, plan, workload, azure, k8s.Provider("aks")).endpoint

    return Deployed(settings, plan, workload, recorder, run(program))


@functools.cache
def ray_groups() -> Deployed:
    """prod with vLLM on V100: two pipelines of two nodes each."""
    prod = settings_of("prod")
    return deploy_settings(changed(prod.model_copy(update={"engine": "vllm"}), "sharding", pipelines=2))


@functools.cache
def _deployed_stack(stack: str) -> Deployed:
    return deploy_settings(settings_of(stack))


@pytest.fixture
def prod() -> StackSettings:
    return settings_of("prod")


@pytest.fixture
def deployed() -> Deployed:
    """The prod stack. What it holds is shared by all tests, so none may change it."""
    return _deployed_stack("prod")


@pytest.fixture(params=["prod", "dev", "ray groups"])
def each_stack(request) -> Deployed:
    """Likewise, both stacks in turn, and one whose shards are not alike."""
    return ray_groups() if request.param == "ray groups" else _deployed_stack(request.param)


@pytest.fixture
def deploy() -> Callable[[StackSettings], Deployed]:
    """Deploys other settings."""
    return deploy_settings
