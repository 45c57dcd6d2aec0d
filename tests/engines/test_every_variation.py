"""Every command line and every proxy's file that variations of the stacks render, as the real llama-server and the real Envoy judge them.

The server loads a model of one layer, so it gets as far as a pod's would: arguments, environment, cache, slots, answering. All that is
not the pod's is the model, the address and that it does not warm up, which 24 threads on 2 CPUs would take long for.
"""

import dataclasses
import json
import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

import engines
from engines.envoy import access
from infra.endpoints import endpoints
from planner import plan as make_plan
from planner.engine_facts import traits
from rehearsal.ports import free_port
from settings import files
from settings.flatten import document
from tests.engines import tiny_model
from tests.engines.branches import one_sided
from tests.engines.envoy import certificates
from tests.engines.envoy.proxy import environment_program
from tests.infra import variations

ON_TWO = {"engine": "llama_cpp", "gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"}}
LOCKS = {"public": True, "allowedIpRanges": ["20.42.7.0/24"], "tls": {"secretName": "front-door"}}
TWO_GPUS = {side: {"nvidia.com/gpu": 2} for side in ("requests", "limits")}
FLAGS = {"LLAMA_ARG_CTX_SIZE": "512", "LLAMA_ARG_KV_UNIFIED": "1", "LLAMA_ARG_TIMEOUT": "900", "OURS": "1"}
GRAPHS = {"name": "CUDA_ENABLE_GRAPHS", "value": "false"}
MORE = {
    "llama.cpp, nothing compressed, fused or mapped": ON_TWO
    | {
        "model": {"kvCache": {"compression": False}, "attention": {"flashAttention": False}, "quantization": {"enabled": False}},
        "shard": {"config": {"memoryMapping": False}, "env": [GRAPHS]},
        "gpuPool": {"vmSize": "Standard_NC96ads_A100_v4"},
        "coordinator": {
            "config": {"loadBalancingStrategy": "random"},
            "limits": {"requestsPerMinutePerClient": 77},
            "resources": {"limits": {"cpu": "4"}},
        },
    },
    "llama.cpp, short requests": ON_TWO
    | {"coordinator": {"limits": {"requestTokens": 1000}, "config": {"loadBalancingStrategy": "round_robin"}}, "exposure": LOCKS},
    "llama.cpp, keys without TLS": ON_TWO
    | {
        "exposure": {"apiKeys": {"secretName": "keys"}, "allowedOrigins": ["https://chat.example.com"]},
        "rollout": {"terminationGrace": "5s"},
    },
    "llama.cpp, a proxy without limits": ON_TWO
    | {"sizing": {"mode": "verbatim"}, "coordinator": {"resources": {"requests": {"cpu": None}, "limits": {"cpu": None, "memory": None}}}}
    | {"sharding": {"shardsCount": 1, "layersPerShard": 80}, "shard": {"resources": TWO_GPUS}},
    "llama.cpp, flags by their variables, and one that nothing reads": ON_TWO
    | {"shard": {"env": [{"name": name, "value": value} for name, value in FLAGS.items()]}},
}
"""What those of `tests/infra/variations.py` leave out of flags, their values and the proxy's file."""

RENDERERS = (
    "llama_cpp/command_line",
    "llama_cpp/environment",
    "llama_cpp/engine",
    "envoy/config",
    "envoy/access",
    "envoy/pipeline_cluster",
    "envoy/readiness",
    "envoy/coordinator",
    "envoy/pipeline_server",
)


def proxied():
    """Stacks of engines behind the proxy, by their names."""
    stacks = {name: files.from_file(files.stack_file_path(name), name).require() for name in ("dev", "prod")}
    made = {"dev": stacks["dev"]}
    for name, changes in (variations.VARIATIONS | MORE).items():
        if traits(changes.get("engine", stacks["prod"].engine)).proxied:
            made[name] = variations.checked(variations.merged(document(stacks["prod"]), changes))
    return made


def rendered(settings):
    plan = make_plan(settings)
    names = endpoints(plan, registry="registry.example", redis=None)
    return engines.ENGINES[plan.settings.engine].render(plan.settings, plan, names), plan


@pytest.fixture(scope="module")
def made():
    return {name: rendered(settings) for name, settings in proxied().items()}


def test_each_branch_of_what_renders_them_is_taken():
    """A flag that is rendered in one of two ways, of which no variation has one, would be judged by nobody."""
    folder = Path(engines.__file__).parent
    stacks = proxied().values()
    left_out = one_sided(lambda: [rendered(settings) for settings in stacks], [folder / f"{name}.py" for name in RENDERERS])
    assert left_out == []


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("model") / "model.gguf")


def started(shard, model, folder):
    """The log of a pod's server, once it is healthy; what it said last, where it ended instead."""
    port, args = free_port(), list(shard.args)
    for flag, value in (("--model", model), ("--host", "127.0.0.1"), ("--port", port)):
        args[args.index(flag) + 1] = str(value)
    environment = {one.name: one.value for one in shard.env if one.value is not None} | {"PATH": os.environ["PATH"]}
    log = folder / "llama-server.log"
    with log.open("w") as out:
        server = subprocess.Popen(["llama-server", *args, "--no-warmup"], env=environment, stdout=out, stderr=out)
        try:
            while server.poll() is None and not healthy(port):
                time.sleep(0.05)
            assert server.poll() is None, f"{' '.join(args)}: {log.read_text()[-1500:]}"
        finally:
            # It writes its log from a thread of its own, which an end by force would cut short.
            server.terminate()
            server.wait(60)
    return log.read_text()


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.process
def test_the_real_server_starts_with_every_command_line_and_has_the_plans_slots(made, model, tmp_path):
    of_llama = {(workload.shard.args, workload.shard.env): plan for workload, plan in made.values() if plan.settings.engine == "llama_cpp"}
    assert len(of_llama) > 7
    for (args, env), plan in of_llama.items():
        shard = next(workload.shard for workload, _ in made.values() if (workload.shard.args, workload.shard.env) == (args, env))
        log = started(shard, model, tmp_path)
        slots = f"n_slots = {plan.requests_at_once}, n_ctx_slot = {plan.request_tokens}, kv_unified = 'false'"
        assert slots in log, (slots, re.findall("n_slots.*", log))


WRONG = {
    "a flag that there is not": ("--metrics", "--metric", r"invalid argument: --metric\b"),
    "a value that there is not": ("mmap", "map", r'handling argument "--load-mode": invalid value'),
    "a number that is none": ("98304", "many", r'handling argument "--ctx-size"'),
    "values that exclude each other": ("on", "off", "quantized V cache requires flash_attn"),
    "more slots than the engine has": ("24", "257", "n_seq_max must be <= 256"),
}


@pytest.mark.process
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_command_line_is_found_out(wrong, made, model, tmp_path):
    right, instead, says = WRONG[wrong]
    shard = made["llama.cpp on two GPUs, images by name"][0].shard
    assert right in shard.args
    args = tuple(instead if one == right else one for one in shard.args)
    with pytest.raises(AssertionError, match=says):
        started(dataclasses.replace(shard, args=args), model, tmp_path)


@pytest.mark.process
def test_a_wrong_variable_is_found_out(made, model, tmp_path):
    shard = made["llama.cpp, flags by their variables, and one that nothing reads"][0].shard
    env = tuple(dataclasses.replace(one, value="many") if one.name == "LLAMA_ARG_CTX_SIZE" else one for one in shard.env)
    with pytest.raises(AssertionError, match='handling environment variable "LLAMA_ARG_CTX_SIZE"'):
        started(dataclasses.replace(shard, env=env), model, tmp_path)


# The proxy


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """Content of the keys that Secrets have: real certificates, and keys of clients."""
    by = certificates.authority(tmp_path_factory.mktemp("authority"))
    made = certificates.signed(by, tmp_path_factory.mktemp("certificate"), 7)
    found = {key: (made / key).read_text() for key in ("tls.crt", "tls.key")} | {"ca.crt": (by / "ca.crt").read_text()}
    return found | {access.API_KEYS_FILE: access.api_keys_file({"alice": "key-of-alice-0001"})}


def judged(coordinator, secrets, folder, change=str):
    """What `envoy --mode validate` says of the proxy's files, with the folders of this machine in place of the pod's."""
    here = {coordinator.config_dir: folder} | {one.folder: folder / name for name, one in coordinator.secrets.items()}
    for one in coordinator.secrets.values():
        here[one.folder].mkdir(parents=True)
        for key in one.keys:
            (here[one.folder] / key).write_text(secrets[key])
    for one in coordinator.config_files:
        content = change(one.content)
        for there, place in here.items():
            content = content.replace(there, str(place))
        (folder / one.name).write_text(content)
    args = [str(folder / "envoy.yaml") if argument.endswith("envoy.yaml") else argument for argument in coordinator.args]
    return subprocess.run([environment_program("envoy"), "--mode", "validate", *args], capture_output=True, text=True, timeout=120)


@pytest.mark.process
def test_the_real_envoy_takes_every_file(made, secrets, tmp_path):
    coordinators = {
        json.dumps([workload.coordinator.args, str(workload.coordinator.config_files)]): name for name, (workload, _) in made.items()
    }
    assert len(coordinators) > 7
    for number, name in enumerate(coordinators.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        ran = judged(made[name][0].coordinator, secrets, folder)
        assert ran.returncode == 0 and "eprecated" not in ran.stderr, f"{name}: {ran.stderr}"


@pytest.mark.process
@pytest.mark.parametrize(
    ("right", "wrong"), [("per_connection_buffer_limit_bytes", "per_connection_buffer_limit"), ("max_requests: ", "max_requests: -")]
)
def test_a_wrong_file_is_found_out(right, wrong, made, secrets, tmp_path):
    coordinator = made["llama.cpp behind every lock"][0].coordinator
    assert right in coordinator.config_files[0].content
    assert judged(coordinator, secrets, tmp_path, lambda content: content.replace(right, wrong)).returncode != 0
