"""An alert before the bill is a surprise."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
from pulumi_azure_native import consumption

from infra.azure.context import AzureContext
from infra.naming import Names
from settings.account import Effect, Resource
from settings.platform import Budget as BudgetSettings

# Percent of the month's amount; "Forecasted" is what the month will come to at this rate.
ALERTS = {
    "actual-50": ("Actual", 50.0),
    "actual-80": ("Actual", 80.0),
    "actual-100": ("Actual", 100.0),
    "forecast-100": ("Forecasted", 100.0),
}


@dataclass(frozen=True, kw_only=True)
class BudgetArgs:
    context: AzureContext
    settings: BudgetSettings
    monthly: float
    """In the currency that the subscription is billed in."""
    month: datetime.date
    """The current month."""


def budget(name: str, args: BudgetArgs) -> consumption.Budget:
    """A monthly budget over the stack's two resource groups. It warns; it switches nothing off.

    At the subscription, filtered, because the GPU machines are in the group that AKS keeps for its nodes.
    """
    names = args.context.names
    return consumption.Budget(
        name,
        scope=pulumi.Output.format("/subscriptions/{0}", args.context.subscription_id),
        budget_name=names.of("budget"),
        category="Cost",
        amount=args.monthly,
        time_grain="Monthly",
        time_period=consumption.BudgetTimePeriodArgs(start_date=f"{args.month:%Y-%m}-01T00:00:00Z"),
        filter=consumption.BudgetFilterArgs(
            dimensions=consumption.BudgetComparisonExpressionArgs(
                name="ResourceGroupName", operator="In", values=[names.resource_group, names.node_resource_group]
            )
        ),
        notifications={
            label: consumption.NotificationArgs(
                enabled=True,
                operator="GreaterThanOrEqualTo",
                threshold=threshold,
                threshold_type=kind,
                contact_emails=list(args.settings.alert_emails),
                contact_roles=list(args.settings.alert_roles),
            )
            for label, (kind, threshold) in ALERTS.items()
        },
        opts=pulumi.ResourceOptions(
            # Azure takes only the current month's first day when a budget is made, and the budget then renews itself: a later
            # month must not look like a change.
            ignore_changes=["timePeriod"],
        ),
    )


def effects(names: Names) -> Iterator[Effect]:
    """The settings that the budget answers."""
    budget = Resource("Budget", names.of("budget"))
    yield budget.effect("budget.monthlyUsd", "amount")
    yield budget.effect("budget.monthlyUsd")
    for label in ALERTS:
        yield budget.effect("budget.alertEmails", f"notifications.{label}.contactEmails")
        yield budget.effect("budget.alertRoles", f"notifications.{label}.contactRoles")
