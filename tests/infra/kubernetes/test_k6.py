"""The load test: the guide's script, run only when somebody says so."""

import json
import shutil
import subprocess

import pytest

from infra.kubernetes import k6, names
from settings.flatten import with_values
from settings.quantities import Duration
from tests.infra.kubernetes.conftest import LOCKS, changed, deploy_settings, settings_of


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
    assert k6._k6_duration(Duration("1d")) == "86400s"


@pytest.fixture(scope="module")
def locked():
    return deploy_settings(with_values(settings_of("dev"), LOCKS))


def test_it_has_what_the_front_door_asks_for(locked):
    spec = locked.inputs("kubernetes:batch/v1:CronJob", names.LOAD_TEST)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    [key] = [variable for variable in container["env"] if variable["name"] == "API_KEY"]
    assert key["valueFrom"] == {"secretKeyRef": {"name": "keys", "key": "load-test"}}
    config = json.loads(data(locked)["config.json"])
    assert config["endpoint"] == "https://zig-ai-coordinator-service:443/v1/inference"
    [mount] = [mount for mount in container["volumeMounts"] if mount["mountPath"] == config["tlsAuthDir"]]
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == mount["name"]]
    assert volume["secret"]["secretName"] == "clients" and {item["key"] for item in volume["secret"]["items"]} == {"tls.crt", "tls.key"}


# What k6 gives a script, as far as this one uses it.
STUBS = """
const calls = { requests: [], checks: {}, slept: 0 };
const answer = { status: 200, timings: { duration: 1234 } };
const http = { post: (url, body, params) => { calls.requests.push({ url, body: JSON.parse(body), params }); return answer; } };
const check = (response, tests) => { for (const [name, test] of Object.entries(tests)) calls.checks[name] = test(response); };
const sleep = (seconds) => { calls.slept += seconds; };
const open = (file) => (file === './config.json' ? CONFIG : `content of ${file}`);
"""


def run(deployed, **environment):
    """What the script did, and its options."""
    body = "\n".join(line for line in k6.SCRIPT.read_text().splitlines() if not line.startswith("import "))
    body = body.replace("export const options", "const options").replace("export default function", "function run")
    given = f"const CONFIG = {json.dumps(data(deployed)['config.json'])}; const __ENV = {json.dumps(environment)};"
    program = f"{given}{STUBS}{body}\nrun(); console.log(JSON.stringify({{ calls, options }}));"
    result = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=30, check=True)
    return json.loads(result.stdout)


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("node"), reason="no JavaScript engine on PATH")
def test_the_script_shows_its_key_and_its_certificate(locked):
    seen = run(locked, API_KEY="a key")
    [request] = seen["calls"]["requests"]
    assert request["params"]["headers"]["Authorization"] == "Bearer a key"
    assert seen["options"]["tlsAuth"] == [{"cert": "content of /client/tls.crt", "key": "content of /client/tls.key"}]
    assert seen["options"]["insecureSkipTLSVerify"] is True


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("node"), reason="no JavaScript engine on PATH")
def test_the_script_does_what_the_guides_script_does(deployed):
    seen = run(deployed)
    assert seen["options"]["insecureSkipTLSVerify"] is False and seen["options"]["tlsAuth"] == []
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
