"""Alerts reach those who are named, once for all that goes wrong together, and nobody else: by the real Prometheus and Alertmanager."""

import contextlib
import http.server
import json
import subprocess
import threading
import urllib.request

import pytest
import yaml

from infra.kubernetes import names
from infra.kubernetes.monitoring.alertmanager_config import SECRET_KEYS, SECRETS_DIR, alertmanager_yaml
from infra.kubernetes.monitoring.alerts import WATCHDOG
from infra.kubernetes.monitoring.prometheus_config import prometheus_yaml
from rehearsal.ports import free_ports
from rehearsal.programs import find_program
from settings.operations import Receiver
from tests.infra import variations
from tests.infra.kubernetes.conftest import changed, deploy_settings, settings_of
from tests.infra.kubernetes.monitoring.test_prometheus_rules import rules_of
from tests.observer import wait_for


def receivers(*given):
    return tuple(Receiver.model_validate_json(json.dumps(one)) for one in given)


ALL_KINDS = receivers(
    *variations.RECEIVERS,
    {"name": "teams", "kind": "teams", "secretName": "s"},
    {"name": "pager", "kind": "pagerduty", "secretName": "s", "severities": ["page"]},
    {"name": "hook", "kind": "webhook", "secretName": "s"},
    {"name": "heart", "kind": "webhook", "secretName": "s", "severities": ["heartbeat"]},
)


@contextlib.contextmanager
def listening():
    """A receiver of webhooks on this machine: its address, and what arrived, by the path that was asked."""
    arrived = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            arrived.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", arrived
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def process(command, log):
    with log.open("w") as file:
        running = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@contextlib.contextmanager
def alertmanager(folder, all_receivers, address):
    """The real one with the rendered file, in seconds instead of minutes; each secret is the address and the receiver's name."""
    text = alertmanager_yaml(all_receivers).replace(SECRETS_DIR, str(folder))
    for minutes in ("30s", "5m"):
        text = text.replace(f": {minutes}\n", ": 1s\n")
    for one in all_receivers:
        (folder / one.name).mkdir()
        (folder / one.name / SECRET_KEYS[one.kind]).write_text(f"{address}/{one.name}")
    (folder / "alertmanager.yml").write_text(text)
    [port] = free_ports(1)
    command = [find_program("alertmanager", target="test"), f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data"]
    command += ["--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}"]
    with process(command, folder / "alertmanager.log") as running:

        def ready():
            assert running.poll() is None, (folder / "alertmanager.log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
                return answer.status == 200

        wait_for(ready, 60)
        yield port


def tell(port, *alerts, resolved=False):
    """Sends the alerts in the form in which Prometheus does."""
    ends = {"endsAt": "2020-01-01T00:00:01Z", "startsAt": "2020-01-01T00:00:00Z"} if resolved else {}
    body = json.dumps([{"labels": alert, "annotations": {"summary": "s"}} | ends for alert in alerts]).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v2/alerts", body, {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


def labels_of(name, **more):
    """An alert of the rules, with the labels that they give it."""
    rules = [rule for group in yaml.safe_load(rules_of("llama_cpp"))["groups"] for rule in group["rules"]]
    found = next(rule["labels"] for rule in rules if rule.get("alert") == name)
    return {"alertname": name} | found | more


def names_at(arrived, path, status="firing"):
    return [sorted(one["labels"]["alertname"] for one in body["alerts"]) for at, body in arrived if at == path and body["status"] == status]


@pytest.mark.process
def test_every_kind_of_receiver_is_accepted(tmp_path):
    with alertmanager(tmp_path, ALL_KINDS, "http://127.0.0.1:9") as port:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/receivers", timeout=10)
        assert {one["name"] for one in json.load(answer)} == {"nobody", *(one.name for one in ALL_KINDS)}


@pytest.mark.process
def test_what_goes_wrong_together_is_said_once_and_what_follows_from_an_outage_is_not_said(tmp_path):
    hook, pager = ({"name": name, "kind": "webhook", "secretName": "s"} for name in ("hook", "pager"))
    both = receivers(hook, pager | {"severities": ["page"]})
    missing = [labels_of("ZigAiScrapeMissing", job=f"job {index}", instance="node") for index in range(12)]
    with listening() as (address, arrived), alertmanager(tmp_path, both, address) as port:
        tell(port, *missing)
        wait_for(lambda: names_at(arrived, "/hook"), 30)
        assert names_at(arrived, "/hook") == [["ZigAiScrapeMissing"] * 12], "one message for a dead node"
        assert names_at(arrived, "/pager") == [], "nobody is woken"
        tell(port, *missing, resolved=True)
        wait_for(lambda: names_at(arrived, "/hook", "resolved"), 30)
        arrived.clear()
        tell(port, labels_of("ZigAiServiceDown"))
        wait_for(lambda: names_at(arrived, "/pager"), 30)
        tell(port, labels_of("ZigAiPipelinesMissing"), labels_of("ZigAiGpuIdle"))
        wait_for(lambda: ["ZigAiGpuIdle"] in names_at(arrived, "/hook"), 30)
        told = {name for names in names_at(arrived, "/hook") for name in names}
        assert told == {"ZigAiServiceDown", "ZigAiGpuIdle"} and names_at(arrived, "/pager") == [["ZigAiServiceDown"]]


@pytest.mark.process
def test_prometheus_sends_the_heartbeat_and_only_who_asks_for_it_hears_it(tmp_path):
    hook, heart = ({"name": name, "kind": "webhook", "secretName": "s"} for name in ("hook", "heart"))
    with listening() as (address, arrived), alertmanager(tmp_path, receivers(hook, heart | {"severities": ["heartbeat"]}), address) as port:
        deployed = settings_of("prod")
        monitoring = deployed.monitoring.model_copy(update={"receivers": receivers(hook)})
        config = yaml.safe_load(prometheus_yaml(monitoring, deploy_settings(deployed).workload))
        [[cluster]] = [one["static_configs"] for one in config["alerting"]["alertmanagers"]]
        assert cluster == {"targets": [f"{names.ALERTMANAGER}.monitoring.svc.cluster.local:9093"]}
        cluster["targets"] = [f"127.0.0.1:{port}"]
        (tmp_path / "rules.yml").write_text(rules_of("llama_cpp"))
        here = {"global": {"evaluation_interval": "1s"}, "rule_files": ["rules.yml"], "alerting": config["alerting"]}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(here))
        [own] = free_ports(1)
        command = [find_program("prometheus", target="test"), f"--config.file={tmp_path}/prometheus.yml"]
        command += [f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{own}"]
        with process(command, tmp_path / "prometheus.log"):
            wait_for(lambda: names_at(arrived, "/heart"), 60)
        assert names_at(arrived, "/heart")[0] == [WATCHDOG] and names_at(arrived, "/hook") == []


def test_secrets_are_mounted_and_in_no_object():
    monitoring = settings_of("dev").monitoring.model_copy(update={"receivers": ALL_KINDS})
    deployed = deploy_settings(settings_of("dev").model_copy(update={"monitoring": monitoring}))
    spec = deployed.inputs("kubernetes:apps/v1:Deployment", names.ALERTMANAGER)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for one in ALL_KINDS:
        secret = volumes[mounted[f"{SECRETS_DIR}/{one.name}"]]["secret"]
        assert secret["secretName"] == one.secret_name and secret["items"][0]["key"] == SECRET_KEYS[one.kind]
    text = deployed.inputs("kubernetes:core/v1:ConfigMap", names.ALERTMANAGER)["data"]["alertmanager.yml"]
    assert "url:" not in text and "password:" not in text and "routing_key:" not in text


def test_without_receivers_there_is_none(deploy, prod):
    made = {one.inputs["metadata"]["name"] for one in deploy(prod).recorder.all("kubernetes:apps/v1:Deployment")}
    assert names.ALERTMANAGER not in made and "prometheus" in made
    heard = deploy(changed(prod, "monitoring", receivers=ALL_KINDS))
    assert heard.inputs("kubernetes:networking.k8s.io/v1:NetworkPolicy", names.ALERTMANAGER)["spec"]["egress"] == [
        {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 587, "protocol": "TCP"}]}
    ]
