"""The cluster's scrape jobs and rules, for what runs on this machine: a coordinator and the pipelines, no GPU and no kubelet.

Rules count what answers a job by its name and labels, so the jobs have those of the cluster; only where their targets are is another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from engines.workload import Workload
from infra.kubernetes import names
from infra.kubernetes.monitoring.prometheus_config import scrape_jobs, sources
from infra.kubernetes.monitoring.prometheus_rules import rules_yaml
from planner.fit.plan import Plan

_SERVERS = "inference"
"""The source with the metrics of coordinators and shards."""
_OF_KUBERNETES = ("kubernetes_sd_configs", "relabel_configs", "scrape_interval")
_OFTEN = {"scrape_interval": "5s", "evaluation_interval": "5s"}
"""The interval of all jobs here, so that changes show soon."""


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """The scrape jobs and the rules of Prometheus."""

    jobs: tuple[dict[str, Any], ...]
    """Scrape jobs, without their targets."""
    rules: str

    def prometheus_yaml(self, rules_file: str, own: str, coordinator: str, pipelines: Sequence[str]) -> str:
        """Returns `prometheus.yml`. `own`, `coordinator` and `pipelines` are addresses with ports."""
        servers = [
            {"targets": [coordinator], "labels": {"app": names.COORDINATOR}},
            *({"targets": [pipeline], "labels": {"app": names.SHARD, "pipeline": str(index)}} for index, pipeline in enumerate(pipelines)),
        ]
        itself = {"job_name": "prometheus", "static_configs": [{"targets": [own]}]}
        jobs = [itself, *(job | {"static_configs": servers} for job in self.jobs)]
        return yaml.safe_dump({"global": _OFTEN, "rule_files": [rules_file], "scrape_configs": jobs})


def monitoring(plan: Plan, workload: Workload, pipelines: int) -> Monitoring:
    """Returns the monitoring of one coordinator and this number of pipelines."""
    [servers] = [source for source in sources(workload) if source.name == _SERVERS]
    here = {servers.name, *servers.series}
    jobs = [job for job in scrape_jobs(plan.settings.monitoring, workload) if job["job_name"] in here]
    return Monitoring(
        jobs=tuple({key: value for key, value in job.items() if key not in _OF_KUBERNETES} for job in jobs),
        rules=_rules(plan, workload, pipelines, {"prometheus", *here}),
    )


def _rules(plan: Plan, workload: Workload, pipelines: int, jobs: set[str]) -> str:
    """Returns the rules without those about jobs that do not exist here."""
    settings = plan.settings.model_copy(update={"coordinator": plan.settings.coordinator.model_copy(update={"replicas": 1})})
    document: Mapping[str, Any] = yaml.safe_load(rules_yaml(replace(plan, settings=settings, pipelines=pipelines, scaling=None), workload))
    for group in document["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule.get("labels", {}).get("job", _SERVERS) in jobs]
    return yaml.safe_dump(document, sort_keys=False, width=140)
