"""Prometheus: the guide's intervals in force, each series stored once, and a config that the real promtool accepts."""

import re
import subprocess

import pytest
import yaml

from infra.kubernetes import names
from infra.kubernetes.monitoring import prometheus, prometheus_config
from rehearsal.programs import find_program
from settings.operations import Monitoring
from settings.quantities import Duration
from tests.infra.kubernetes.conftest import changed

SERIES = [
    *("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_FREE", "DCGM_EXP_XID_ERRORS_COUNT"),
    *("zig_ai_inference_duration_seconds_bucket", "zig_ai_inference_duration_seconds_sum", "zig_ai_inference_requests_total", "go_threads"),
    *("node_cpu_usage_seconds_total", "container_memory_working_set_bytes"),
]
METRIC_OF = {
    "gpu_utilization": "DCGM_FI_DEV_GPU_UTIL",
    "gpu_memory_usage": "DCGM_FI_DEV_FB_USED",
    "inference_latency": "zig_ai_inference_duration_seconds_bucket",
    "throughput_rps": "zig_ai_inference_requests_total",
    "cpu_utilization": "node_cpu_usage_seconds_total",
    "memory_usage": "container_memory_working_set_bytes",
}

MEASURED = ("inference", "inference_latency", "throughput_rps")
"""The jobs that read coordinators and shards."""


@pytest.fixture
def files(deployed):
    return deployed.inputs("kubernetes:core/v1:ConfigMap", names.PROMETHEUS)["data"]


def jobs(text):
    return {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}


def keeps(job, series):
    """Whether a job stores a series, by its metric relabelling."""
    for rule in job.get("metric_relabel_configs", []):
        matched = re.fullmatch(rule["regex"], series) is not None
        if matched != (rule["action"] == "keep"):
            return False
    return True


def test_each_of_the_guides_metrics_has_its_interval(deployed, files):
    for metric in deployed.settings.monitoring.metrics:
        job = jobs(files["prometheus.yml"])[metric.name]
        assert job["scrape_interval"] == metric.interval
        assert keeps(job, METRIC_OF[metric.name])


def test_no_series_is_stored_twice_and_none_is_lost(files):
    """Two jobs that keep one series would double every sum over it."""
    scraped = jobs(files["prometheus.yml"])
    of_endpoint = {
        "DCGM": ("gpu_utilization", "gpu_memory_usage", "gpu"),
        "zig_": ("inference_latency", "throughput_rps", "inference"),
        "go_t": ("inference_latency", "throughput_rps", "inference"),
        "node": ("cpu_utilization", "memory_usage"),
        "cont": ("cpu_utilization", "memory_usage"),
    }
    for series in SERIES:
        keeping = [name for name in of_endpoint[series[:4]] if keeps(scraped[name], series)]
        assert len(keeping) == 1, f"{series}: {keeping}"


def test_metrics_that_nobody_asked_for_come_with_the_rest(deployed):
    text = prometheus_config.prometheus_yaml(Monitoring(metrics=()), deployed.workload)
    assert set(jobs(text)) == {"prometheus", "gpu", "inference"}
    assert all(keeps(jobs(text)["gpu"], series) for series in SERIES)


def test_azures_agent_gets_the_jobs_of_the_service_and_is_let_in(deploy, prod):
    """It paid for a workspace that no series of the service, and none of a GPU, ever reached."""
    managed = deploy(changed(prod, "monitoring", managed_prometheus=True))
    config = managed.inputs("kubernetes:core/v1:ConfigMap", "ama-metrics-prometheus-config")
    assert config["metadata"]["namespace"] == "kube-system"
    theirs, ours = (
        jobs(text)
        for text in (
            config["data"]["prometheus-config"],
            managed.inputs("kubernetes:core/v1:ConfigMap", names.PROMETHEUS)["data"]["prometheus.yml"],
        )
    )
    assert set(ours) - set(theirs) == {"prometheus", "cpu_utilization", "memory_usage"}
    assert theirs == {name: ours[name] for name in theirs}
    for policy in (names.COORDINATOR, names.SHARD, names.GPU_METRICS):
        readers = managed.inputs("kubernetes:networking.k8s.io/v1:NetworkPolicy", policy)["spec"]["ingress"][-1]["from"]
        assert [reader["podSelector"]["matchLabels"] for reader in readers] == [names.selector(names.PROMETHEUS), {"rsName": "ama-metrics"}]


@pytest.mark.parametrize(
    ("written", "prometheus_spells"), [("10s", "10s"), ("1h", "1h"), ("250ms", "250ms"), ("1.5s", "1500ms"), ("0.5h", "1800000ms")]
)
def test_intervals_are_whole_numbers(written, prometheus_spells):
    assert prometheus_config.interval(Duration(written)) == prometheus_spells


def test_the_names_in_the_scrape_jobs_are_the_pods(each_stack):
    text = each_stack.inputs("kubernetes:core/v1:ConfigMap", names.PROMETHEUS)["data"]["prometheus.yml"]
    servers = {names.COORDINATOR: each_stack.workload.coordinator, names.SHARD: each_stack.workload.shard}
    of_all = [f"{name};{server.metrics_port}" for name, server in servers.items()]
    of_pods = {name: job["relabel_configs"][0]["regex"].split("|") for name, job in jobs(text).items() if name in MEASURED}
    # A shard that says neither was read each second, and nothing of it was kept.
    measured = of_all if each_stack.workload.shards_measure else of_all[:1]
    assert of_pods == {name: of_all if name == "inference" else measured for name in of_pods} and len(of_pods) > 1
    assert all(server.port(server.metrics_port) for server in servers.values())


def test_it_is_the_deployment_that_the_guide_execs_into(deployed):
    deployment = deployed.inputs("kubernetes:apps/v1:Deployment", "prometheus")
    assert deployment["metadata"]["namespace"] == "monitoring"
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 9090, "protocol": "TCP"}]


def test_two_never_share_the_disk(deployed):
    spec = deployed.inputs("kubernetes:apps/v1:Deployment", "prometheus")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_pulumi_does_not_wait_for_a_larger_disk(deployed):
    """Its provider waited for the bound claim to become pending, and failed after five minutes, although the disk was larger at once."""
    claim = deployed.inputs("kubernetes:core/v1:PersistentVolumeClaim", "prometheus")
    assert claim["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}


def test_a_full_disk_is_prevented(deployed):
    """64 GiB of disk, 85 % of it for blocks."""
    assert "--storage.tsdb.retention.size=55705MB" in prometheus.arguments(deployed.settings.monitoring)
    assert "--storage.tsdb.retention.time=15d" in prometheus.arguments(deployed.settings.monitoring)


def test_its_rights_are_to_read_and_no_more(deployed):
    rules = [
        (kind, resource.inputs["metadata"].get("namespace"), rule)
        for kind in ("Role", "ClusterRole")
        for resource in deployed.recorder.all(f"kubernetes:rbac.authorization.k8s.io/v1:{kind}")
        for rule in resource.inputs["rules"]
    ]
    assert {verb for _, _, rule in rules for verb in rule["verbs"]} <= {"get", "list", "watch"}
    assert {(kind, namespace, *rule["resources"]) for kind, namespace, rule in rules} == {
        ("Role", "zig-ai", "pods"),
        ("Role", "zig-ai-node-agents", "pods"),
        ("ClusterRole", None, "nodes"),
        ("ClusterRole", None, "nodes/metrics"),
    }


@pytest.fixture
def promtool():
    program = find_program("promtool", target="test")
    return lambda *arguments: subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.process
def test_promtool_accepts_the_config(promtool, each_stack, tmp_path):
    files = each_stack.inputs("kubernetes:core/v1:ConfigMap", names.PROMETHEUS)["data"]
    # The real checker looks for the files that the config names: those of the pod.
    config = files["prometheus.yml"]
    for path in (
        "/etc/prometheus/rules.yml",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
    ):
        here = tmp_path / path.rsplit("/", 1)[1]
        here.write_text(files["rules.yml"] if path.endswith("rules.yml") else "")
        config = config.replace(path, str(here))
    (tmp_path / "prometheus.yml").write_text(config)
    result = promtool("check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
    assert result.returncode == 0, result.stderr
    result = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert result.returncode == 0, result.stderr
