"""The Job that fetches weights: named by its source, tried again only where that helps, and without any secret of its own."""

import json

import pytest

from infra.kubernetes import names
from infra.kubernetes.weights import fetch_job
from settings import load
from settings.flatten import document
from settings.quantities import Duration
from tests.infra.kubernetes.conftest import changed, settings_of
from tests.infra.variations import variation

JOB = "kubernetes:batch/v1:Job"
COMMIT = "b4e04e128f421c93a5f1e34ac4d7ca9b0af47b80"


def with_model(stack, **model):
    sections = document(settings_of(stack))
    sections["model"] |= model
    return load({name: section if isinstance(section, str) else json.dumps(section) for name, section in sections.items()})


def job(deployed):
    return deployed.recorder.one(JOB).inputs


def environment(deployed):
    [container] = job(deployed)["spec"]["template"]["spec"]["containers"]
    return environment_of(container)


def environment_of(container):
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]}


def test_without_a_source_there_is_nothing_to_fetch(deployed):
    kinds = {resource.type for resource in deployed.recorder.resources}
    assert JOB not in kinds and "zig-ai-aks:kubernetes:WeightsFetch" not in kinds
    assert deployed.plan.weights.folder == "llama-2-70b"


def test_what_the_program_is_told(deploy):
    deployed = deploy(settings_of("dev"))
    told = environment(deployed)
    assert told == {
        "SOURCE": f"hf://TheBloke/Llama-2-7B-GGUF@{COMMIT}/llama-2-7b.Q8_0.gguf",
        "STORAGE": "https://weightsaccount.blob.core.windows.net/weights",
        "FOLDER": deployed.plan.weights.folder,
        "FILE_NAME": "model.gguf",
    }
    [shard] = deployed.recorder.all("kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet")
    arguments = shard.inputs["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0]["args"]
    assert f"/data/{told['FOLDER']}/{told['FILE_NAME']}" in arguments


def test_another_source_is_another_job_and_another_folder(deploy):
    """A Job of the same name could not be changed, and a folder of the same name would be written to while it is read."""
    first, second = (deploy(with_model("prod", source=f"hf://org/name@{digit * 40}")) for digit in "01")
    assert job(first)["metadata"]["name"] != job(second)["metadata"]["name"]
    assert first.plan.weights.folder != second.plan.weights.folder
    assert "FILE_NAME" not in environment(first), "an engine that reads a folder gets the files under their own names"


def test_only_a_server_of_safetensors_insists_on_them(deploy):
    """What an image of the user's own reads, they know."""
    assert "ONLY_FORMAT" not in environment(deploy(with_model("prod", source=f"hf://org/name@{COMMIT}")))
    assert environment(deploy(variation("vllm on two GPUs, fetched weights on the node")))["ONLY_FORMAT"] == "safetensors"


def test_the_token_is_a_reference(deploy):
    deployed = deploy(with_model("prod", source=f"hf://org/name@{COMMIT}", tokenSecret={"name": "hub", "key": "token"}))
    assert environment(deployed)["TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}
    [shards] = [c.inputs["data"] for c in deployed.recorder.all("kubernetes:core/v1:ConfigMap") if c.name == "zig-ai-shard-config"]
    assert "hub" not in str(shards) and "tokenSecret" not in str(shards)


CRON_JOB = "kubernetes:batch/v1:CronJob"


def test_weights_of_earlier_sources_stay_unless_asked_otherwise(deploy):
    assert names.WEIGHTS_RETENTION not in {cron.name for cron in deploy(settings_of("dev")).recorder.all(CRON_JOB)}


def test_what_deletes_them_is_what_may_write_and_comes_after_the_fetch(deploy):
    deployed = deploy(changed(settings_of("dev"), "rollout", weights_retention=Duration("14d")))
    cron = deployed.recorder.one(CRON_JOB, names.WEIGHTS_RETENTION)
    spec, fetch = cron.inputs["spec"]["jobTemplate"]["spec"], job(deployed)["spec"]
    [forgets], [fetches] = (one["template"]["spec"].pop("containers") for one in (spec, fetch))
    assert spec == fetch, "the same account, identity, labels for the way out, and security"
    assert forgets["command"] == [*fetches["command"][:-1], "forget"]
    told = {variable["name"]: variable["value"] for variable in forgets["env"]}
    assert told == {"STORAGE": environment_of(fetches)["STORAGE"], "FOLDER": deployed.plan.weights.folder, "RETENTION_SECONDS": "1209600"}
    assert deployed.recorder.options_of(CRON_JOB, names.WEIGHTS_RETENTION).depends_on == {names.WEIGHTS_FETCH}
    assert cron.inputs["spec"]["concurrencyPolicy"] == "Forbid"


def test_only_a_lost_node_is_tried_again(deploy):
    """The program has tried again itself; a wrong checksum three times over is three downloads."""
    spec = job(deploy(settings_of("dev")))["spec"]
    rules = {rule["action"]: rule for rule in spec["podFailurePolicy"]["rules"]}
    assert rules["FailJob"]["onExitCodes"] == {"containerName": "fetch", "operator": "In", "values": [1]}
    assert rules["Ignore"]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    # Kubernetes takes such a policy with this one only.
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    # A Job that goes away by itself would be made again by the next `up`.
    assert "ttlSecondsAfterFinished" not in spec


def test_a_failed_fetch_is_made_anew(deploy):
    assert job(deploy(settings_of("dev")))["metadata"]["annotations"]["pulumi.com/replaceUnready"] == "true"


def test_the_pod_has_the_whole_program(deploy):
    deployed = deploy(settings_of("dev"))
    files = deployed.inputs("kubernetes:core/v1:ConfigMap", "zig-ai-weights-fetch")["data"]
    assert files == {file.name: file.read_text() for file in fetch_job.PROGRAM.iterdir() if file.suffix == ".py"}
    [container] = job(deployed)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python", container["volumeMounts"][0]["mountPath"], "fetch"]


@pytest.mark.parametrize(("params", "slower"), [(7.0, False), (70.0, True)])
def test_larger_models_are_waited_for_longer(deploy, params, slower):
    shape = {
        "paramsB": params,
        "layers": 80,
        "hidden": 8192,
        "heads": 64,
        "kvHeads": 8,
        "intermediate": 28672,
        "vocab": 32000,
        "context": 4096,
    }
    deployed = deploy(with_model("prod", name="ours", shape=shape, source=f"hf://org/name@{COMMIT}"))
    assert (deployed.plan.weights.fetch_wait_s > 3600) is slower
