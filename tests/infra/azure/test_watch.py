"""What watches the stack: metrics, the control plane's logs, the bill."""

import datetime

import pytest

from infra.azure.budget import BudgetArgs, budget
from infra.azure.logs import ControlPlaneLogs, ControlPlaneLogsArgs
from infra.azure.monitoring import ManagedPrometheus, ManagedPrometheusArgs
from settings.platform import Budget
from tests.mocks import run

BUDGET = "azure-native:consumption:Budget"


def test_managed_prometheus_from_cluster_to_workspace(recorder, context):
    run(lambda: ManagedPrometheus("metrics", ManagedPrometheusArgs(context=context, cluster_id="/cluster")).workspace_id)
    rule = recorder.one("azure-native:monitor:DataCollectionRule").inputs
    (source,) = rule["dataSources"]["prometheusForwarder"]
    (destination,) = rule["destinations"]["monitoringAccounts"]
    (flow,) = rule["dataFlows"]
    assert source["streams"] == flow["streams"] == ["Microsoft-PrometheusMetrics"]
    assert flow["destinations"] == [destination["name"]]
    assert destination["accountResourceId"].endswith("metrics-workspace")
    assert rule["dataCollectionEndpointId"].endswith("metrics-endpoint")
    association = recorder.one("azure-native:monitor:DataCollectionRuleAssociation").inputs
    assert association["resourceUri"] == "/cluster"
    assert association["dataCollectionRuleId"].endswith("metrics-rule")


def test_control_plane_logs(recorder, context):
    """`kube-audit` has every read too: on a busy cluster it costs more than the nodes."""
    run(lambda: ControlPlaneLogs("logs", ControlPlaneLogsArgs(context=context, cluster_id="/cluster")).workspace_id)
    setting = recorder.one("azure-native:monitor:DiagnosticSetting").inputs
    assert setting["resourceUri"] == "/cluster"
    assert {log["category"] for log in setting["logs"] if log["enabled"]} == {
        *("kube-audit-admin", "guard", "cluster-autoscaler"),
        *("kube-controller-manager", "cloud-controller-manager"),
    }
    workspace = recorder.one("azure-native:operationalinsights:Workspace").inputs
    assert workspace["retentionInDays"] == 30
    assert workspace["features"] == {"disableLocalAuth": True}, "whoever has its shared key could write to it"


@pytest.fixture
def inputs(recorder, context):
    settings = Budget(monthly_usd=5000.0, alert_emails=("ops@contoso.com",), alert_roles=("Owner",))
    args = BudgetArgs(context=context, settings=settings, monthly=5000.0, month=datetime.date(2026, 11, 24))
    run(lambda: budget("budget", args).id)
    return recorder.one(BUDGET).inputs


def test_budget_sees_the_gpu_nodes(inputs):
    """They are in the resource group that AKS makes: a budget on the stack's own group misses nearly the whole bill."""
    assert inputs["scope"] == "/subscriptions/00000000-0000-0000-0000-000000000000"
    assert inputs["filter"]["dimensions"] == {
        "name": "ResourceGroupName",
        "operator": "In",
        "values": ["rg-zig-ai-test", "rg-zig-ai-test-nodes"],
    }


def test_budget_starts_on_the_first_of_the_month_and_never_again(recorder, inputs):
    assert inputs["timePeriod"] == {"startDate": "2026-11-01T00:00:00Z"}
    assert recorder.options_of(BUDGET).ignore_changes == ["timePeriod"]


def test_a_budget_alerts_at_each_threshold_and_for_the_forecast(inputs):
    assert (inputs["amount"], inputs["timeGrain"], inputs["category"]) == (5000.0, "Monthly", "Cost")
    alerts = inputs["notifications"]
    assert {(a["thresholdType"], a["threshold"]) for a in alerts.values()} == {
        ("Actual", 50.0),
        ("Actual", 80.0),
        ("Actual", 100.0),
        ("Forecasted", 100.0),
    }
    # Azure takes five at most.
    assert len(alerts) <= 5
    for alert in alerts.values():
        assert alert["contactEmails"] == ["ops@contoso.com"] and alert["contactRoles"] == ["Owner"] and alert["enabled"]
