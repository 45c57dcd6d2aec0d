"""Joins the parts of a stack: settings, plan, engine, Azure, Kubernetes and outputs. Stacks differ only in their YAML."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import pulumi

from infra import deployment
from infra.azure import platform as azure_platform
from infra.azure.platform import AzurePlatform
from infra.kubernetes.platform import KubernetesPlatform
from infra.registration import registration
from planner import plan as make_plan
from planner.fit.plan import Plan
from planner.recommend.assessment import Assessment, assess
from reports import comparison, json_output, preview
from reports.outcomes import Row, outcomes
from settings import SettingsError, StackSettings
from stacks import config, preflight

_NEXT_STEP = (
    "cluster.private, step 1 of 2: only the network is made, since a private cluster is reached from inside it alone. Start a machine in "
    "the range azure.network.buildersCidr and run `pulumi up` there for the rest; docs/going-live.md has the commands."
)


def main() -> None:
    """Checks everything and then registers the stack. A problem ends the run with one listing before anything is registered."""
    stack = pulumi.get_stack()
    try:
        asked = config.from_program()
        plan = make_plan(asked)
        running = preflight.ask(plan.settings, plan, stack)
    except SettingsError as error:
        config.stop(error)
    if plan.settings.cluster.private and not running.cluster and "private-endpoints" not in running.subnets:
        _first_step_of_a_private_cluster(plan.settings, stack)
    else:
        deploy(asked, plan, stack, node_counts=running.node_counts)


def _first_step_of_a_private_cluster(settings: StackSettings, stack: str) -> None:
    """Registers the network alone: whoever runs the program is not in it yet, and nobody else reaches a private cluster."""
    pulumi.export("resourceGroup", azure_platform.deploy_network(settings, stack))
    pulumi.export("nextStep", _NEXT_STEP)
    pulumi.log.warn(_NEXT_STEP)


def deploy(
    asked: StackSettings, plan: Plan, stack: str, *, today: datetime.date | None = None, node_counts: Mapping[str, int] | None = None
) -> None:
    """Registers the planned stack. `today` and `node_counts` are those of `deployment.deploy`."""
    deployed = deployment.deploy(plan, stack, today=today, node_counts=node_counts)
    _export(plan, deployed.azure, deployed.kubernetes)
    _account_for_targets(assess(asked, planned=plan), stack)
    _account_for_settings(outcomes(asked, registration(plan, stack, today=today)), stack)


def _account_for_targets(assessment: Assessment, stack: str) -> None:
    """Logs how the layout does against its targets, and exports the prediction and, if there are any, the measurements."""
    pulumi.log.info(preview.targets(assessment, stack))
    pulumi.export("prediction", json_output.deployed(assessment))
    kept = comparison.path_of(stack)
    if not kept.exists():
        return
    try:
        pulumi.export("measured", comparison.as_json(comparison.compare(kept)))
    except comparison.Unreadable as error:
        pulumi.log.warn(str(error))


def _account_for_settings(rows: tuple[Row, ...], stack: str) -> None:
    """Logs and exports what became of the settings."""
    if warnings := preview.warnings(rows):
        pulumi.log.warn(warnings)
    pulumi.log.info(preview.summary(rows, stack))
    pulumi.export("settings", preview.output(rows))


def _export(plan: Plan, azure: AzurePlatform, kubernetes: KubernetesPlatform) -> None:
    pulumi.export("clusterName", azure.cluster_name)
    pulumi.export("resourceGroup", azure.resource_group)
    pulumi.export("registry", azure.registry)
    pulumi.export("endpoint", kubernetes.endpoint)
    pulumi.export("kubeconfig", azure.kubeconfig)
    pulumi.export("gpuNodes", plan.nodes)
    if plan.usd_per_hour is not None:
        pulumi.export("gpuUsdPerHour", round(plan.usd_per_hour, 3))
