"""Who hears of which alert: `alertmanager.yml`. Plain values in, plain text out; no Pulumi. What runs on it: `alertmanager.py`.

https://prometheus.io/docs/alerting/latest/configuration/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from infra.kubernetes.monitoring.alerts import HEARTBEAT, PAGE, TICKET
from settings.operations import Receiver

SECRETS_DIR = "/etc/alertmanager/secrets"
SECRET_KEYS = {"email": "password", "webhook": "url", "slack": "url", "teams": "url", "pagerduty": "routing-key"}
"""The key of its Secret that each kind of receiver reads."""
_NOBODY = "nobody"
_REPEATED = {PAGE: "1h", TICKET: "24h", HEARTBEAT: "5m"}
"""How often what still stands is said again."""
_FOLLOWS_AN_OUTAGE = ("ErrorBudgetBurning", "LatencyAboveTarget", "LatencyBudgetBurning", "PipelinesMissing", "PipelineEjected")
_FOLLOWS_AN_OUTAGE += ("RequestsWait", "ClientsLeave", "Retries", "ScrapeMissing")


def alertmanager_yaml(receivers: Iterable[Receiver]) -> str:
    """`alertmanager.yml`."""
    document = {
        # One message for all that goes wrong at once for one owner: a lost node is the fault of four scrape jobs.
        "route": {
            "receiver": _NOBODY,
            "group_by": ["severity", "owner"],
            "group_wait": "30s",
            "group_interval": "5m",
            "routes": [_route(receiver.name, severity) for receiver in receivers for severity in receiver.severities],
        },
        "receivers": [{"name": _NOBODY}, *(_receiver(receiver) for receiver in receivers)],
        "inhibit_rules": [
            {
                "source_matchers": ['alertname="ZigAiServiceDown"'],
                "target_matchers": [f'alertname=~"ZigAi({"|".join(_FOLLOWS_AN_OUTAGE)})"'],
            },
            # Who is woken about a budget needs no ticket about the same one.
            {"source_matchers": [f'severity="{PAGE}"'], "target_matchers": [f'severity="{TICKET}"'], "equal": ["alertname"]},
        ],
    }
    return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, width=140)


def _route(name: str, severity: str) -> dict[str, Any]:
    often = {"group_wait": "0s", "group_interval": _REPEATED[HEARTBEAT]} if severity == HEARTBEAT else {}
    return {
        "receiver": name,
        "matchers": [f'severity="{severity}"'],
        "repeat_interval": _REPEATED[severity],
        **often,
        # Another receiver may want it too.
        "continue": True,
    }


def secret_file(receiver: Receiver) -> str:
    """Where the receiver's secret is mounted."""
    return f"{SECRETS_DIR}/{receiver.name}/{SECRET_KEYS[receiver.kind]}"


def _receiver(receiver: Receiver) -> dict[str, Any]:
    file = secret_file(receiver)
    if receiver.kind == "email":
        how = {
            "to": receiver.to,
            "from": receiver.sender,
            "smarthost": receiver.smarthost,
            "auth_username": receiver.sender,
            "auth_password_file": file,
        }
        return {"name": receiver.name, "email_configs": [how | {"send_resolved": True}]}
    kinds = {
        "webhook": ("webhook_configs", "url_file"),
        "slack": ("slack_configs", "api_url_file"),
        "teams": ("msteamsv2_configs", "webhook_url_file"),
        "pagerduty": ("pagerduty_configs", "routing_key_file"),
    }
    section, field = kinds[receiver.kind]
    text = {"title": "{{ .CommonLabels.severity }}: {{ .Alerts.Firing | len }} alerts of {{ .CommonLabels.owner }}", "text": _TEXT}
    return {"name": receiver.name, section: [{field: file, "send_resolved": True} | (text if receiver.kind in ("slack", "teams") else {})]}


_TEXT = "{{ range .Alerts }}{{ .Status }} {{ .Labels.alertname }}: {{ .Annotations.summary }} ({{ .Annotations.runbook }})\n{{ end }}"
