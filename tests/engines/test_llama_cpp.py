"""llama.cpp behind Envoy: the command line that the real server knows, the proxy's file from the settings, and a word on each setting."""

import json

import pytest
import yaml

from engines import ENGINES
from engines.envoy import coordinator
from engines.llama_cpp.command_line import model_path
from engines.llama_cpp.environment import variable_of
from infra.endpoints import endpoints
from planner import plan as make_plan
from settings import SettingsError, StackSettings, files
from settings.flatten import document as document_of
from settings.flatten import with_values
from tests.engines import llama_server
from tests.engines.rendering import assert_each_setting_has_an_effect, following, value_at

ON_TWO_GPUS = {("gpuPool", "vmSize"): "Standard_NC48ads_A100_v4"}


LOCKS = {
    ("exposure", "tls"): {"secretName": "front-door", "clientCaSecretName": "clients"},
    ("exposure", "apiKeys"): {"secretName": "keys"},
    ("coordinator", "limits", "requestsPerMinutePerClient"): 60,
}


LOCKED = (
    ("exposure", "tls", "secretName"),
    ("exposure", "tls", "clientCaSecretName"),
    ("exposure", "apiKeys", "secretName"),
    ("coordinator", "limits", "requestsPerMinutePerClient"),
)


def asked(stack):
    return with_values(files.from_file(files.stack_file_path(stack), stack).require(), {("engine",): "llama_cpp"})


def rendered(settings):
    plan = make_plan(settings)
    names = endpoints(plan, registry="registry.example", redis=None)
    return ENGINES["llama_cpp"].render(plan.settings, plan, names), plan


def fitted(settings, values):
    """With `sizing.mode: fitted`, which dev has not."""
    return with_values(settings, values | {("sizing", "mode"): "fitted"})


@pytest.fixture(scope="module")
def dev():
    return asked("dev")


VARIANTS = {
    "dev": lambda: asked("dev"),
    "prod on two GPUs": lambda: with_values(asked("prod"), ON_TWO_GPUS),
    "prod on four GPUs": lambda: with_values(asked("prod"), {("gpuPool", "vmSize"): "Standard_NC96ads_A100_v4"}),
    "one request at a time": lambda: fitted(asked("dev"), {("coordinator", "config", "dynamicBatching", "enabled"): False}),
    "nothing compressed": lambda: fitted(
        asked("dev"), {("model", "kvCache", "compression"): False, ("model", "attention", "flashAttention"): False}
    ),
    "every lock": lambda: with_values(asked("dev"), LOCKS),
    "read instead of mapped": lambda: fitted(asked("dev"), {("shard", "config", "memoryMapping"): False}),
}


@pytest.fixture(params=VARIANTS, scope="module")
def variant(request):
    return VARIANTS[request.param]()


def test_each_flag_is_one_of_the_pinned_version_with_or_without_a_value(variant):
    known = llama_server.known()
    args = list(rendered(variant)[0].shard.args)
    while args:
        flag = args.pop(0)
        assert flag in known, f"{flag} is no flag of llama-server"
        followed = bool(args) and not args[0].startswith("--")
        assert followed == known[flag], f"{flag} {'takes no value' if followed else 'needs a value'}"
        if followed:
            args.pop(0)


@pytest.mark.process
def test_the_list_of_flags_is_the_real_servers():
    assert llama_server.of_binary("llama-server") == llama_server.known()


def test_one_gpu(dev):
    workload, plan = rendered(dev)
    shard = workload.shard
    assert shard.command == ("/app/llama-server",)
    assert following(shard, "--model") == model_path(plan) == f"/data/llama-2-7b-{dev.model.weight_source.hash}/model.gguf"
    assert int(following(shard, "--ctx-size")) == 7 * 2048 <= plan.memory.tokens
    assert following(shard, "--parallel") == "7" and "--cont-batching" in shard.args
    assert {"--no-kv-unified", "--no-context-shift"} <= set(shard.args)
    assert following(shard, "--flash-attn") == "on" and following(shard, "--cache-type-v") == "q8_0"
    assert (following(shard, "--threads"), following(shard, "--threads-http")) == ("2", "1")
    assert shard.limits["nvidia.com/gpu"] == "1"
    assert not any("rpc" in argument for argument in shard.args)


def test_four_gpus_hold_one_pipeline():
    workload, plan = rendered(with_values(asked("prod"), {("gpuPool", "vmSize"): "Standard_NC96ads_A100_v4"}))
    assert workload.shard.limits["nvidia.com/gpu"] == "4"
    assert [shard.layer_range for shard in plan.shards] == ["0-79"]
    assert following(workload.shard, "--split-mode") == "layer" and following(workload.shard, "--n-gpu-layers") == "all"
    [visible] = [one.value for one in workload.shard.env if one.name == "CUDA_VISIBLE_DEVICES"]
    assert visible == "0,1,2,3"


def test_cuda_graphs_are_off_only_when_they_are_switched_off():
    def variables(value):
        settings = with_values(asked("prod"), ON_TWO_GPUS | {("shard", "env", "CUDA_ENABLE_GRAPHS"): value})
        return {one.name: one.value for one in rendered(settings)[0].shard.env}

    assert variables("false")["GGML_CUDA_DISABLE_GRAPHS"] == "1"
    assert "GGML_CUDA_DISABLE_GRAPHS" not in variables("true")


def with_variables(dev, **variables):
    shard = document_of(dev)["shard"] | {"env": [{"name": name, "value": value} for name, value in variables.items()]}
    workload, _ = rendered(StackSettings.model_validate_json(json.dumps(document_of(dev) | {"shard": shard})))
    effects = {effect.key.removeprefix("shard.env."): effect for effect in workload.effects if effect.key.startswith("shard.env.")}
    return effects, workload


def test_a_variable_whose_flag_is_rendered_is_overwritten_by_it(dev):
    effects, workload = with_variables(
        dev, LLAMA_ARG_CTX_SIZE="512", LLAMA_ARG_N_PARALLEL="64", LLAMA_ARG_NO_KV_UNIFIED="0", LLAMA_ARG_UI="1", LLAMA_ARG_EMBEDDINGS="1"
    )
    size = effects["LLAMA_ARG_CTX_SIZE"]
    assert (size.outcome, size.given) == ("translated", "--ctx-size 14336")
    assert "model.kvCache.maxCacheSize" in size.because and "coordinator.limits.requestTokens" in size.because
    assert effects["LLAMA_ARG_N_PARALLEL"].given == "--parallel 7"
    assert effects["LLAMA_ARG_NO_KV_UNIFIED"].given == "--no-kv-unified"
    assert effects["LLAMA_ARG_UI"].given == "--no-ui" and effects["LLAMA_ARG_UI"].because.endswith("it is no setting")
    embeddings = effects["LLAMA_ARG_EMBEDDINGS"]
    assert (embeddings.outcome, value_at(workload, embeddings)) == ("passed through", "1")
    assert "the plan counts with none" in embeddings.because


@pytest.mark.process
def test_the_variables_of_rendered_flags_are_the_real_servers(variant):
    known = llama_server.variables_of_binary("llama-server")
    for flag in rendered(variant)[0].shard.args:
        if flag.startswith("--"):
            assert variable_of(flag) == known.get(flag), flag


def test_what_the_container_writes_is_writable(dev):
    """The root file system is read-only: CUDA keeps its kernels below HOME."""
    variables = {one.name: one.value for one in rendered(dev)[0].shard.env}
    assert variables["HOME"] == "/tmp" and variables["CUDA_CACHE_PATH"].startswith("/tmp/")


def test_images_may_be_named(dev):
    named = with_values(dev, {("images", "shard"): "ours/llama:1.0", ("images", "coordinator"): "docker.io/ours/envoy:1.0"})
    workload, _ = rendered(named)
    assert (workload.shard.image, workload.coordinator.image) == ("registry.example/ours/llama:1.0", "docker.io/ours/envoy:1.0")
    own, _ = rendered(dev)
    assert own.shard.image.startswith("ghcr.io/ggml-org/llama.cpp:server-cuda-b")
    assert own.coordinator.image == coordinator.IMAGE


def test_each_setting_has_an_effect(variant):
    assert_each_setting_has_an_effect(*rendered(variant))


# The coordinator


def document(workload):
    [content] = [file.content for file in workload.coordinator.config_files if file.name == "envoy.yaml"]
    return yaml.safe_load(content)


CHANGES = {
    ("coordinator", "config", "maxConnections"): (77, "coordinator.config.maxConnections", "77"),
    ("coordinator", "config", "connectionPoolSize"): (33, "coordinator.config.connectionPoolSize", "33"),
    ("coordinator", "config", "keepAliveTimeout"): ("90s", "coordinator.config.keepAliveTimeout", "90s"),
    ("coordinator", "config", "readBufferSize"): ("128KB", "coordinator.config.readBufferSize", "131072"),
    ("coordinator", "config", "writeBufferSize"): ("32KB", "coordinator.config.writeBufferSize", "32768"),
    ("coordinator", "config", "healthCheckInterval"): ("2s", "coordinator.config.healthCheckInterval", "2s"),
    ("coordinator", "config", "loadBalancingStrategy"): (
        "round_robin",
        "coordinator.config.loadBalancingStrategy",
        "envoy.load_balancing_policies.round_robin",
    ),
    ("coordinator", "limits", "requestSize"): ("512KB", "coordinator.limits.requestSize", "524288"),
    ("coordinator", "limits", "queuedRequests"): (9, "coordinator.limits.queuedRequests", "16"),
    ("shard", "config", "networkTimeout"): ("50m", "shard.config.networkTimeout", "3000s"),
    ("shard", "config", "retryAttempts"): (5, "shard.config.retryAttempts", "5"),
}


@pytest.mark.parametrize(("path", "change"), CHANGES.items(), ids=[".".join(path) for path in CHANGES])
def test_the_guides_keys_are_fields_of_envoy(path, change, dev):
    value, key, holds = change
    before, _ = rendered(dev)
    after, _ = rendered(with_values(dev, {path: value}))
    effects = [effect for effect in after.effects if effect.key == key]
    assert {(effect.outcome, effect.place.kind) for effect in effects} == {("in force", "coordinator")}
    assert holds in {value_at(after, effect) for effect in effects}
    assert holds not in {value_at(before, effect) for effect in effects}


def test_pipelines_are_found_by_the_name_of_their_leaders(dev):
    cluster = document(rendered(dev)[0])["static_resources"]["clusters"][0]
    [locality] = cluster["load_assignment"]["endpoints"]
    [endpoint] = locality["lb_endpoints"]
    socket = endpoint["endpoint"]["address"]["socket_address"]
    assert socket == {"address": "zig-ai-shard-leaders.zig-ai.svc.cluster.local", "port_value": 8080}
    assert rendered(dev)[0].leaders_port.number == 8080
    one, two = (
        document(rendered(with_values(dev, values))[0]) for values in ({}, {("sharding", "pipelines"): 2, ("gpuPool", "maxNodes"): 2})
    )
    for each in (one, two):
        del each["static_resources"]["clusters"][0]["circuit_breakers"]["thresholds"]
    assert one == two, "a pipeline more makes the line longer and changes nothing else"


def test_both_servers_end_only_when_their_grace_is_over(dev):
    workload, _ = rendered(with_values(dev, {("rollout", "terminationGrace"): "60s"}))
    assert workload.coordinator.pre_stop_seconds == workload.shard.pre_stop_seconds == 55
    effects = [effect for effect in workload.effects if effect.key == "rollout.terminationGrace"]
    values = {(effect.place.kind, value_at(workload, effect)) for effect in effects}
    assert values == {("coordinator", "55"), ("shard", "55"), ("coordinator", "27.5s")}


def test_locks_have_effects_and_their_secrets_are_files(dev):
    plain, locked = rendered(dev)[0], rendered(with_values(dev, LOCKS))[0]
    values = {(effect.key, value_at(locked, effect)) for effect in locked.effects if effect.place.kind != "plan"}
    keys = list(map(".".join, LOCKED))
    assert set(zip(keys, ("front-door", "clients", "keys", "60"), strict=True)) <= values
    assert not {effect.key for effect in plain.effects} & set(keys) and not plain.coordinator.secrets
    mounted = {one.secret: one for one in locked.coordinator.secrets.values()}
    files = [file.content for file in locked.coordinator.config_files]
    for secret, keys in (("front-door", ("tls.crt", "tls.key")), ("clients", ("ca.crt",)), ("keys", ("api-keys.json",))):
        assert mounted[secret].keys == keys
        for key in keys:
            assert any(f"{mounted[secret].folder}/{key}" in content for content in files), key


def test_tls_has_a_port_of_its_own_and_no_other_is_open(dev):
    locked = rendered(with_values(dev, LOCKS))[0]
    [port] = locked.serving_ports
    assert (port.name, port.number, port.service_number) == ("https", 8443, 443)
    listeners = document(locked)["static_resources"]["listeners"]
    listens = [one["address"]["socket_address"]["port_value"] for one in listeners if "internal_listener" not in one]
    assert sorted(listens) == sorted(one.number for one in locked.coordinator.ports) == [8443, 9090]


def test_origins_are_a_policy_of_the_proxy_and_refused_where_there_is_none(dev):
    asked = {("exposure", "allowedOrigins"): ["https://app.example", "http://localhost:3000"]}
    workload, _ = rendered(with_values(dev, asked))
    [effect] = [effect for effect in workload.effects if effect.key == "exposure.allowedOrigins" and effect.place.path.endswith("regex")]
    assert effect.outcome == "in force" and value_at(workload, effect) == r"https://app\.example|http://localhost:3000"
    with pytest.raises(SettingsError, match=r"exposure\.allowedOrigins"):
        make_plan(fitted(dev, {("engine",): "zig_ai", **asked}))


def test_connections_move_on_in_half_of_that_time(dev):
    def limits(grace):
        listener = document(rendered(with_values(dev, {("rollout", "terminationGrace"): grace}))[0])["static_resources"]["listeners"][0]
        return listener["filter_chains"][0]["filters"][0]["typed_config"]["common_http_protocol_options"]

    assert limits("60s")["max_connection_duration"] == "27.5s"
    assert "max_connection_duration" not in limits("5s"), "there is no time to move in"


def test_rendering_is_the_same_every_time(dev):
    """Anything else would roll all pods at every deployment."""
    assert rendered(dev)[0] == rendered(dev)[0]
