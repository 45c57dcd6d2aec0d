"""The Zig AI engine: what its servers read, and that a plan's layers, names and sizes arrive where they belong."""

import dataclasses
import json

import pytest
import yaml

from engines import ENGINES
from engines.images import image_reference
from engines.workload import Endpoints, Env, Port, Probe, Server, Workload
from infra.endpoints import shard_dns_names
from infra.kubernetes.pods import environment
from planner import plan as make_plan
from settings import files
from settings.quantities import Duration


def rendered(settings, plan, **changes):
    endpoints = Endpoints(
        namespace="zig-ai",
        registry="registry.example",
        shard_dns=shard_dns_names(plan.pipelines, len(plan.shards)),
        leaders_dns="leaders.example",
        redis_host="redis.example",
    )
    return ENGINES["zig_ai"].render(settings, plan, dataclasses.replace(endpoints, **changes))


@pytest.fixture
def settings():
    return files.from_file(files.stack_file_path("prod"), "prod").require()


@pytest.fixture
def plan(settings):
    return make_plan(settings)


@pytest.fixture
def workload(settings, plan):
    return rendered(settings, plan)


def document(server):
    [file] = server.config_files
    return yaml.safe_load(file.content)


def test_each_engine_is_found_by_its_own_name():
    assert all(engine.name == name for name, engine in ENGINES.items())


def test_ports_and_paths_are_the_services_contract(workload):
    assert {p.name: p.number for p in workload.coordinator.ports} == {"http": 8080, "metrics": 9090}
    assert {p.name: p.number for p in workload.shard.ports} == {"http": 8080, "metrics": 9090, "shard": 50051}
    assert workload.serving_ports == (Port(name="http", number=8080),)
    assert workload.inference_path == "/v1/inference"
    for server in (workload.coordinator, workload.shard):
        assert {probe.path for probe in (server.startup, server.liveness, server.readiness)} == {"/api/v1/health"}
        assert server.config_dir == "/app/config"


def test_files_have_the_names_that_the_servers_open(workload):
    assert [file.name for file in workload.coordinator.config_files] == ["coordinator.yaml"]
    assert [file.name for file in workload.shard.config_files] == ["shard.yaml"]


def test_every_stage_has_its_layers_in_order(workload, plan):
    ranges = ["0-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70-79"]
    for server in (workload.coordinator, workload.shard):
        assert document(server)["sharding"]["layerRanges"] == ranges
    [pipeline] = document(workload.coordinator)["pipelines"]
    assert [shard["layerRange"] for shard in pipeline["shards"]] == ranges
    assert [shard["index"] for shard in pipeline["shards"]] == list(range(8))


def test_two_pipelines_are_told_apart(settings, plan):
    two = dataclasses.replace(plan, pipelines=2)
    first, second = document(rendered(settings, two).coordinator)["pipelines"]
    assert (first["pipeline"], second["pipeline"]) == (0, 1)
    assert first["shards"][1]["address"] == "zig-ai-shard-0-1.zig-ai-shard.zig-ai.svc.cluster.local:50051"
    assert second["shards"][0]["address"] == "zig-ai-shard-1.zig-ai-shard.zig-ai.svc.cluster.local:50051"


def test_half_a_pipeline_is_refused(settings, plan):
    with pytest.raises(ValueError, match="zip"):
        rendered(settings, plan, shard_dns=shard_dns_names(1, 8)[:-1])


def test_redis_is_reached_by_identity_and_without_a_password(workload):
    l3_cache = document(workload.coordinator)["caching"]["l3Cache"]
    assert {key: l3_cache[key] for key in ("host", "port", "tls", "authentication")} == {
        "host": "redis.example",
        "port": 10000,
        "tls": True,
        "authentication": "entra",
    }
    assert "password" not in json.dumps(l3_cache).lower()


def test_without_the_third_cache_there_is_no_redis(settings, plan):
    assert "host" not in document(rendered(settings, plan, redis_host=None).coordinator)["caching"]["l3Cache"]


def test_what_the_container_writes_is_writable(workload, settings):
    """The root file system is read-only: CUDA would compile its kernels anew at each start, without a word."""
    [cuda_cache] = [variable.value for variable in workload.shard.env if variable.name == "CUDA_CACHE_PATH"]
    assert cuda_cache.startswith(("/tmp/", workload.shard.cache.path))
    assert document(workload.shard)["storage"]["weightCache"] == workload.shard.cache.path


def test_the_calibration_set_is_in_the_weight_storage(workload, settings):
    assert settings.model.quantization.calibration_dataset.startswith(f"{workload.shard.weights_dir}/")


def test_a_model_may_take_as_long_to_load_as_settings_say(settings, plan):
    slow = settings.model_copy(update={"rollout": settings.rollout.model_copy(update={"model_load_timeout": Duration("90m")})})
    startup = rendered(slow, plan).shard.startup
    assert startup.period_seconds * startup.failure_threshold >= 90 * 60


def test_no_profile_is_mounted_when_profiling_is_off(settings, plan):
    off = settings.model_copy(update={"profiling": settings.profiling.model_copy(update={"enabled": False})})
    assert rendered(off, plan).shard.profiling_dir is None


def test_no_cache_disk_when_the_second_cache_is_off(settings, plan):
    l2_cache = settings.caching.l2_cache.model_copy(update={"enabled": False})
    off = settings.model_copy(update={"caching": settings.caching.model_copy(update={"l2_cache": l2_cache})})
    assert rendered(off, plan).shard.cache is None


def test_rendering_is_the_same_every_time(settings, plan, workload):
    """Anything else would roll all pods at every deployment."""
    assert rendered(settings, plan) == workload


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("zig-ai/shard:1.0.0", "registry.example/zig-ai/shard:1.0.0"),
        ("shard:1.0.0", "registry.example/shard:1.0.0"),
        ("ghcr.io/zig-ai/shard:1.0.0", "ghcr.io/zig-ai/shard:1.0.0"),
        ("localhost/shard:1", "localhost/shard:1"),
        ("registry:5000/shard:1", "registry:5000/shard:1"),
    ],
)
def test_an_image_without_a_registry_is_the_stacks_own(image, reference):
    assert image_reference(image, "registry.example") == reference


def test_a_secret_reaches_the_shard_by_reference(settings, plan):
    variable = '{"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]}'
    workload = rendered(settings.model_copy(update={"shard": type(settings.shard).model_validate_json(variable)}), plan)
    [token] = [variable for variable in workload.shard.env if variable.name == "HF_TOKEN"]
    assert environment((token,)) == [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]


def test_a_variable_has_a_value_or_a_field_never_both():
    with pytest.raises(ValueError, match="X"):
        Env(name="X")
    with pytest.raises(ValueError, match="X"):
        Env(name="X", value="1", field_path="metadata.name")


def test_a_service_port_that_nothing_listens_on_is_refused(workload):
    probe = Probe(port="http")
    server = Server(image="x", config_files=(), ports=(Port(name="http", number=1),), startup=probe, liveness=probe, readiness=probe)
    with pytest.raises(ValueError, match="the coordinator listens on 1"):
        dataclasses.replace(workload, coordinator=server)
    assert isinstance(workload, Workload)
