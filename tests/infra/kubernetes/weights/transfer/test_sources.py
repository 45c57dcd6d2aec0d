"""Weights from the hub, from a blob path and from a registry: what comes, under which name, and what is said when it does not."""

import hashlib
import json

import pytest

from tests.infra.kubernetes.weights.transfer.conftest import GGUF, HUB_MODEL, MIB, ONE_FILE, fails, succeeds
from tests.infra.kubernetes.weights.transfer.servers import SHARED_ACCESS

pytestmark = pytest.mark.process


def listed(files):
    return [{"path": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in files.items()]


# ---- from the hub


def test_one_file_becomes_the_engines(stand):
    succeeds(stand.run(SOURCE=ONE_FILE, FILE_NAME="model.gguf"))
    assert stand.stored == {"model.gguf": GGUF}
    assert stand.manifest == {"folder": "llama-2-7b-0a1b2c3d", "source": ONE_FILE, "files": listed({"model.gguf": GGUF})}


def test_a_folder_comes_whole_but_for_the_same_weights_in_other_formats(stand):
    stand.world.files = {
        "config.json": b"{}",
        "empty.json": b"",
        "model-00001-of-00002.safetensors": GGUF,
        "sub folder/tokenizer+1.model": b"t",
        "pytorch_model-00001.bin": b"again",
        "original/consolidated.00.pth": b"again",
        "model.gguf": b"again",
    }
    stand.world.page_size = 2
    succeeds(stand.run(SOURCE=HUB_MODEL))
    assert stand.stored.keys() == {"config.json", "empty.json", "model-00001-of-00002.safetensors", "sub folder/tokenizer+1.model"}
    assert stand.stored.items() <= stand.world.files.items()
    assert {file["path"]: file["size"] for file in stand.manifest["files"]} == {name: len(body) for name, body in stand.stored.items()}


SHARDS = [f"model-0000{part}-of-00003.safetensors" for part in (1, 2, 3)]
INDEX = json.dumps({"weight_map": dict(zip("abc", SHARDS, strict=True)) | {"d": SHARDS[0]}}).encode()
MISTRAL = {
    "config.json": b"{}",
    "consolidated.safetensors": GGUF,
    "model.safetensors.index.json": INDEX,
    **dict.fromkeys(SHARDS, b"a third"),
    "params.json": b"{}",
    "tokenizer.model.v3": b"t",
}
"""The files of mistralai/Mistral-7B-Instruct-v0.3 (vllm-project/vllm#4989 lists them with their sizes: 14.5 GB twice over)."""


def test_weights_that_are_there_twice_come_once(stand):
    stand.world.files = MISTRAL | {"onnx/model.safetensors": b"again", "metal/model.bin": b"again"}
    succeeds(stand.run(SOURCE=HUB_MODEL))
    assert stand.stored == {name: body for name, body in MISTRAL.items() if name != "consolidated.safetensors"}


def test_without_an_index_the_weights_are_those_at_the_top(stand):
    stand.world.files = {"config.json": b"{}", "model.safetensors": GGUF, "consolidated.safetensors": GGUF, "original/x.safetensors": GGUF}
    succeeds(stand.run(SOURCE=HUB_MODEL))
    assert stand.stored.keys() == {"config.json", "model.safetensors"}


def test_weights_in_mistrals_format_alone_are_refused_before_they_come(stand):
    stand.world.files = {"params.json": b"{}", "consolidated-00001-of-00002.safetensors": GGUF, "tekken.json": b"{}"}
    fails(stand.run(SOURCE=HUB_MODEL), "only weights are consolidated-00001-of-00002.safetensors", "model.safetensors.index.json")
    assert stand.stored == {}


def test_a_model_without_what_the_server_loads_is_refused_before_it_comes(stand):
    """vLLM would end with "Cannot find any model weights" after all of it was fetched."""
    stand.world.files = {"config.json": b"{}", "pytorch_model.bin": GGUF}
    fails(stand.run(SOURCE=HUB_MODEL, ONLY_FORMAT="safetensors"), "it has no safetensors files", "(bin, json)")
    assert stand.stored == {}
    succeeds(stand.run(SOURCE=HUB_MODEL))


def test_an_index_that_names_what_is_not_there(stand):
    stand.world.files = {name: body for name, body in MISTRAL.items() if name != SHARDS[1]}
    fails(stand.run(SOURCE=HUB_MODEL), f"names {SHARDS[1]}, which is not there (1 of 3 are missing)")
    assert stand.stored == {}


def test_the_token_goes_to_the_hub_and_no_further(stand):
    stand.world.hub_token = "hf_right"
    succeeds(stand.run(SOURCE=ONE_FILE, TOKEN="hf_right\n"))
    assert stand.world.tokens_seen_by_cdn == []


@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_without_the_right_token_it_says_what_is_missing(stand, token):
    stand.world.hub_token = "hf_right"
    done = stand.run(SOURCE=ONE_FILE, TOKEN=token)
    fails(done, "401", "model.tokenSecret")
    assert "hf_wrong" not in done.stdout


def test_an_unknown_commit(stand):
    fails(stand.run(SOURCE=f"hf://org/model@{'0' * 40}"), "404", "no such model or commit")


def test_a_missing_file_is_named_with_those_that_are_there(stand):
    fails(stand.run(SOURCE=f"{HUB_MODEL}/llama.Q5_0.gguf"), "no file llama.Q5_0.gguf", "llama.Q4_0.gguf, llama.Q8_0.gguf")


def test_an_engine_of_one_file_takes_no_folder(stand):
    fails(stand.run(SOURCE=HUB_MODEL, FILE_NAME="model.gguf"), "there are 4", "model.source")


@pytest.mark.parametrize("name", ["llama.Q8_0.gguf", "config.json"])
def test_a_wrong_checksum_leaves_no_manifest_and_not_the_file(stand, name):
    """LFS files have a SHA-256; the others are held to git's own hash."""
    stand.world.corrupt = name
    fails(stand.run(SOURCE=f"{HUB_MODEL}/{name}"), name, "its source says", "not kept")
    assert (stand.stored, stand.manifest) == ({}, None)
    stand.world.corrupt = None
    succeeds(stand.run(SOURCE=f"{HUB_MODEL}/{name}"))


def test_broken_connections_are_tried_again(stand):
    stand.world.break_after = 2
    done = stand.run(SOURCE=ONE_FILE)
    fails(done, "no answer after 6 tries")
    stand.world.break_after = None
    assert stand.manifest is None and stand.stored == {}


def test_a_hub_that_throttles_is_asked_again(stand):
    """For longer than one that is broken: it counts requests by the five minutes."""
    stand.world.throttle = 20
    succeeds(stand.run(SOURCE=ONE_FILE))


def test_a_hub_that_throttles_for_ever(stand):
    stand.world.throttle = 10**6
    fails(stand.run(SOURCE=ONE_FILE), "429")


def test_an_answer_that_makes_no_sense_is_one_line_too(stand):
    stand.world.no_json = True
    fails(stand.run(SOURCE=ONE_FILE), "JSONDecodeError")


def test_a_server_that_ignores_ranges_is_noticed(stand):
    """Each block would be the whole file. Here all blocks are as large, as any of them may be the first to come."""
    stand.world.ignore_ranges, stand.world.files["llama.Q8_0.gguf"] = True, GGUF[: 2 * MIB]
    fails(stand.run(SOURCE=ONE_FILE), "the source sent", "where 1048576 were asked for")
    assert stand.manifest is None


# ---- from a blob path


def test_all_below_a_path(stand):
    stand.world.blobs |= {"theirs/models/a/config.json": b"{}", "theirs/models/a/b/x.safetensors": GGUF, "theirs/models/ab": b"no"}
    succeeds(stand.run(SOURCE=f"http://{stand.world.host}/theirs/models/a/"))
    assert stand.stored == {"config.json": b"{}", "b/x.safetensors": GGUF}


def test_one_blob_with_a_shared_access_signature(stand):
    stand.world.blobs["theirs/models/x.gguf"] = GGUF
    done = stand.run(SOURCE=f"http://{stand.world.host}/theirs/models/x.gguf", FILE_NAME="model.gguf", TOKEN=f"?{SHARED_ACCESS}")
    succeeds(done)
    assert stand.stored == {"model.gguf": GGUF} and "secret" not in done.stdout


def test_a_blob_that_changes_meanwhile(stand):
    """Half of the one and half of the other, and no checksum that would tell."""
    stand.world.blobs["theirs/x.gguf"] = GGUF
    stand.world.changes_after_a_look = "theirs/x.gguf"
    fails(stand.run(SOURCE=f"http://{stand.world.host}/theirs/x.gguf"), "changed at its source")


def test_a_blob_that_is_not_there(stand):
    fails(stand.run(SOURCE=f"http://{stand.world.host}/theirs/nothing.gguf"), "404", "not there")


# ---- from a registry


@pytest.mark.parametrize("password", [None, "user:right"])
def test_an_artifact(stand, password):
    stand.world.layers, stand.world.registry_password = {"tiny.gguf": GGUF}, password
    succeeds(
        stand.run(SOURCE=f"oci://{stand.world.host}/models/tiny@{stand.world.manifest_digest}", FILE_NAME="model.gguf", TOKEN=password)
    )
    assert stand.stored == {"model.gguf": GGUF}
    assert stand.world.tokens_seen_by_cdn == []


def test_an_artifacts_file_that_is_not_what_its_digest_says(stand):
    stand.world.layers, stand.world.corrupt = {"tiny.gguf": GGUF}, "tiny.gguf"
    fails(stand.run(SOURCE=f"oci://{stand.world.host}/models/tiny@{stand.world.manifest_digest}"), "tiny.gguf", "sha256")


def test_an_artifact_that_is_another(stand):
    stand.world.layers, stand.world.wrong_artifact = {"tiny.gguf": GGUF}, True
    fails(stand.run(SOURCE=f"oci://{stand.world.host}/models/tiny@{stand.world.manifest_digest}"), "another digest")


def test_a_registry_that_wants_a_password(stand):
    stand.world.layers, stand.world.registry_password = {"tiny.gguf": GGUF}, "user:right"
    fails(stand.run(SOURCE=f"oci://{stand.world.host}/models/tiny@{stand.world.manifest_digest}", TOKEN="user:wrong"), "401")


def test_a_title_that_leads_out_of_the_folder(stand):
    stand.world.layers = {"../../etc/passwd": b"x"}
    fails(stand.run(SOURCE=f"oci://{stand.world.host}/models/tiny@{stand.world.manifest_digest}"), "outside the folder")
    assert stand.stored == {}
