"""The load test: the guide's script, run only when somebody says so."""

import json
import shutil
import subprocess

import pytest

from infra.kubernetes import load_test, names
from settings.quantities import Duration
from tests.infra.kubernetes.conftest import changed


@pytest.fixture
def cron_job(deployed):
    return deployed.inputs("kubernetes:batch/v1:CronJob", names.LOAD_TEST)["spec"]


def data(deployed):
    return deployed.inputs("kubernetes:core/v1:ConfigMap", names.LOAD_TEST)["data"]


def test_it_asks_what_the_guides_script_asks(deployed):
    config = json.loads(data(deployed)["config.json"])
    assert config["endpoint"] == "http://zig-ai-coordinator-service:8080/v1/inference"
    assert config["request"] == {"prompt": "The future of artificial intelligence is", "max_tokens": 100, "temperature": 0.7}
    assert (config["concurrentUsers"], config["rampUp"], config["duration"], config["rampDown"]) == (100, "60s", "300s", "60s")
    assert config["latencyMs"] == 2000


def test_thresholds_follow_the_targets(deploy, prod):
    config = json.loads(data(deploy(changed(prod, "targets", latency=Duration("750ms"))))["config.json"])
    assert config["thresholds"]["http_req_duration"] == ["p(95)<750"]
    assert config["latencyMs"] == 750


def test_it_never_runs_by_itself(cron_job):
    assert cron_job["suspend"] is True


def test_a_failed_run_is_not_repeated(cron_job):
    assert cron_job["jobTemplate"]["spec"]["backoffLimit"] == 0


def test_it_runs_the_mounted_script(cron_job, deployed):
    spec = cron_job["jobTemplate"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    [mount] = [m for m in container["volumeMounts"] if m["name"] == "script"]
    assert container["args"] == ["run", f"{mount['mountPath']}/load-test.js"]
    assert data(deployed).keys() == {"load-test.js", "config.json"}


def test_durations_are_in_seconds():
    """k6 refuses days."""
    assert load_test._k6_duration(Duration("1d")) == "86400s"


# What k6 gives a script, as far as this one uses it.
STUBS = """
const calls = { requests: [], checks: {}, slept: 0 };
const answer = { status: 200, timings: { duration: 1234 } };
const http = { post: (url, body, params) => { calls.requests.push({ url, body: JSON.parse(body), params }); return answer; } };
const check = (response, tests) => { for (const [name, test] of Object.entries(tests)) calls.checks[name] = test(response); };
const sleep = (seconds) => { calls.slept += seconds; };
const open = () => CONFIG;
"""


@pytest.mark.skipif(not shutil.which("node"), reason="no JavaScript engine on PATH")
def test_the_script_does_what_the_guides_script_does(deployed):
    body = "\n".join(line for line in load_test.SCRIPT.read_text().splitlines() if not line.startswith("import "))
    body = body.replace("export const options", "const options").replace("export default function", "function run")
    given = json.dumps(data(deployed)["config.json"])
    program = f"const CONFIG = {given};{STUBS}{body}\nrun(); console.log(JSON.stringify({{ calls, options }}));"
    result = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=30, check=True)
    seen = json.loads(result.stdout)
    assert seen["options"]["stages"] == [
        {"duration": "60s", "target": 100},
        {"duration": "300s", "target": 100},
        {"duration": "60s", "target": 0},
    ]
    [request] = seen["calls"]["requests"]
    assert request["params"] == {"headers": {"Content-Type": "application/json"}}
    assert request["body"]["max_tokens"] == 100
    assert seen["calls"]["checks"] == {"status is 200": True, "response time < 2000ms": True}
    assert seen["calls"]["slept"] == 1
