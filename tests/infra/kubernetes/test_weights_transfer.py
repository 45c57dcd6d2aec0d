"""The weights' program, run as its pods run it, against real HTTP servers that answer as the hub, storage and a registry do."""

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest

from infra.kubernetes.weights_fetch import PROGRAM
from tests.infra.kubernetes.weights_servers import COMMIT, SHARED_ACCESS, World

MIB = 2**20
GGUF = random.Random(1).randbytes(3 * MIB + 12345)
HUB_MODEL = f"hf://org/model@{COMMIT}"
ONE_FILE = f"{HUB_MODEL}/llama.Q8_0.gguf"
MANIFEST = "zig-ai-weights.json"


class Stand:
    """The servers, and the program in a pod's environment."""

    def __init__(self, world, folder):
        self.world, self.disk = world, folder / "disk"
        self.disk.mkdir()
        token = folder / "token"
        token.write_text("projected token")
        self.environment = {
            "PATH": os.environ["PATH"],
            "no_proxy": "*",
            "HF_ENDPOINT": f"http://{world.host}",
            "STORAGE": f"http://{world.host}/weights",
            "FOLDER": "llama-2-7b-0a1b2c3d",
            "NODE_DISK": str(self.disk),
            "STAY": "false",
            "BLOCK_MIB": "1",
            "WAIT_FACTOR": "0.001",
            "PATIENCE_SECONDS": "0.2",
            "AZURE_CLIENT_ID": "client",
            "AZURE_TENANT_ID": "tenant",
            "AZURE_AUTHORITY_HOST": f"http://{world.host}/",
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
        }

    def start(self, what, **more):
        environment = {name: value for name, value in (self.environment | more).items() if value is not None}
        return subprocess.Popen([sys.executable, PROGRAM, what], env=environment, stdout=subprocess.PIPE, text=True)

    def run(self, what="fetch", preexec=None, umask=-1, **more):
        environment = {name: value for name, value in (self.environment | more).items() if value is not None}
        command = [sys.executable, PROGRAM, what]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, preexec_fn=preexec, umask=umask)

    @property
    def stored(self):
        """Name to content of the folder in storage, without the manifest."""
        start = f"weights/{self.environment['FOLDER']}/"
        return {
            name.removeprefix(start): body
            for name, body in self.world.blobs.items()
            if name.startswith(start) and not name.endswith(MANIFEST)
        }

    @property
    def manifest(self):
        text = self.world.blobs.get(f"weights/{self.environment['FOLDER']}/{MANIFEST}")
        return json.loads(text) if text else None

    @property
    def kept(self):
        folder = self.disk / self.environment["FOLDER"]
        return (
            {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()} if folder.exists() else None
        )


@pytest.fixture
def stand(tmp_path):
    world = World()
    world.files = {"llama.Q8_0.gguf": GGUF, "llama.Q4_0.gguf": b"smaller", "config.json": b'{"a": 1}', "empty.json": b""}
    yield Stand(world, tmp_path)
    world.close()


def fails(done, *words):
    """One clear line, and nothing else."""
    [*_, last] = done.stdout.splitlines()
    assert done.returncode == 1 and done.stderr == "", (done.stdout, done.stderr)
    assert last.startswith("weights: FAILED: ") and all(word in last for word in words), last
    return last


def succeeds(done):
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.splitlines()[-1]


def listed(files):
    return [{"path": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for name, body in files.items()]


# ---- from the hub


def test_one_file_becomes_the_engines(stand):
    succeeds(stand.run(SOURCE=ONE_FILE, FILE_NAME="model.gguf"))
    assert stand.stored == {"model.gguf": GGUF}
    assert stand.manifest == {"source": ONE_FILE, "files": listed({"model.gguf": GGUF})}


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


def test_a_second_run_does_nothing(stand):
    succeeds(stand.run(SOURCE=ONE_FILE))
    before = len(stand.world.log)
    assert "nothing to do" in succeeds(stand.run(SOURCE=ONE_FILE))
    assert not [line for line in stand.world.log[before:] if line.startswith("PUT") or "resolve" in line or "tree" in line]


def test_files_that_are_gone_come_again(stand):
    succeeds(stand.run(SOURCE=HUB_MODEL))
    del stand.world.blobs["weights/llama-2-7b-0a1b2c3d/config.json"]
    before = len(stand.world.log)
    succeeds(stand.run(SOURCE=HUB_MODEL))
    assert stand.stored["config.json"] == b'{"a": 1}'
    assert not [line for line in stand.world.log[before:] if "resolve" in line and "config.json" not in line]


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


def test_what_storage_has_is_what_is_checked(stand):
    """Not what went over the wire: a sum of that would be right here."""
    stand.world.corrupt_storage = True
    fails(stand.run(SOURCE=ONE_FILE), "its source says")
    assert stand.manifest is None


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


def test_an_interrupted_fetch_goes_on_where_it_was(stand):
    stand.world.break_after = 2
    fails(stand.run(SOURCE=ONE_FILE))
    [staged] = stand.world.blocks.values()
    assert len(staged) == 2
    stand.world.break_after, stand.world.log = None, []
    succeeds(stand.run(SOURCE=ONE_FILE))
    assert stand.stored == {"llama.Q8_0.gguf": GGUF}
    assert stand.world.count("GET /download/") == 2, "of four blocks, two were there"


def test_a_server_that_ignores_ranges_is_noticed(stand):
    """Each block would be the whole file."""
    stand.world.ignore_ranges = True
    fails(stand.run(SOURCE=ONE_FILE), "the source sent", "where 1048576 were asked for")
    assert stand.manifest is None


def test_a_killed_fetch_leaves_nothing_that_looks_whole(stand):
    stand.world.files["llama.Q8_0.gguf"] = random.Random(2).randbytes(12 * MIB)
    running = stand.start("fetch", SOURCE=ONE_FILE)
    until = time.monotonic() + 60
    while not stand.world.blocks and time.monotonic() < until:
        time.sleep(0.01)
    running.kill()
    running.communicate()
    assert stand.world.blocks
    assert (stand.stored, stand.manifest) == ({}, None)
    succeeds(stand.run(SOURCE=ONE_FILE))
    assert stand.stored == {"llama.Q8_0.gguf": stand.world.files["llama.Q8_0.gguf"]}


# ---- storage


def test_a_grant_of_a_moment_ago_is_waited_for(stand):
    stand.world.refuse_storage = 3
    done = stand.run(SOURCE=ONE_FILE, PATIENCE_SECONDS="60", WAIT_FACTOR="0.001")
    assert "a new grant takes minutes" in done.stdout
    succeeds(done)


def test_a_grant_that_never_comes_is_named(stand):
    stand.world.refuse_storage = 10**6
    fails(stand.run(SOURCE=ONE_FILE), "403", "Storage Blob Data role")


def test_a_pod_without_identity(stand):
    fails(stand.run(SOURCE=ONE_FILE, AZURE_CLIENT_ID=None), "AZURE_CLIENT_ID", "workload identity")


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


# ---- to a node's disk


@pytest.fixture
def fetched(stand):
    succeeds(stand.run(SOURCE=HUB_MODEL))
    return stand


def test_a_node_gets_what_was_fetched(fetched):
    """Servers are other users, whatever the image's umask is."""
    succeeds(fetched.run("keep", umask=0o077))
    assert fetched.kept.items() >= fetched.stored.items() and MANIFEST in fetched.kept
    folder = fetched.disk / "llama-2-7b-0a1b2c3d"
    assert folder.stat().st_mode & 0o777 == 0o755 and (folder / "config.json").stat().st_mode & 0o777 == 0o644


def test_a_second_start_on_the_node_reads_nothing(fetched):
    succeeds(fetched.run("keep"))
    fetched.world.log = []
    assert "nothing to do" in succeeds(fetched.run("keep"))
    assert fetched.world.log == []


def test_nothing_is_copied_before_the_fetch_is_complete(stand):
    stand.world.blobs["weights/llama-2-7b-0a1b2c3d/llama.Q8_0.gguf"] = GGUF
    fails(stand.run("keep"), "fetch Job has not finished")
    assert stand.kept is None


def test_a_copy_that_differs_is_never_visible(fetched):
    fetched.world.blobs["weights/llama-2-7b-0a1b2c3d/llama.Q8_0.gguf"] = GGUF[:-1] + b"?"
    fails(fetched.run("keep"), "its source says")
    assert fetched.kept is None


def test_an_interrupted_copy_keeps_whole_files_and_mends_the_others(fetched):
    draft = fetched.disk / ".llama-2-7b-0a1b2c3d.part"
    draft.mkdir()
    (draft / "config.json").write_bytes(b'{"a": 1}')
    (draft / "llama.Q8_0.gguf").write_bytes(bytes(len(GGUF)))
    fetched.world.log = []
    succeeds(fetched.run("keep"))
    assert fetched.kept.items() >= fetched.stored.items()
    assert fetched.world.count("config.json") == 0


def test_a_disk_that_is_too_small_is_known_before_the_copy(fetched):
    path = f"weights/{fetched.environment['FOLDER']}/{MANIFEST}"
    manifest = fetched.manifest
    manifest["files"].append({"path": "huge", "size": 2**60, "sha256": "0" * 64})
    fetched.world.blobs[path] = json.dumps(manifest).encode()
    fails(fetched.run("keep"), "are to come", "GiB are free", "larger local disk")


def test_a_disk_that_fills_up_meanwhile(fetched):
    """A file that cannot grow stands for a disk that has filled up since it was measured."""

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))

    fails(fetched.run("keep", preexec=small_files), "disk is full")
    assert fetched.kept is None


def test_the_agent_stays_and_ends_when_told(fetched):
    running = fetched.start("keep", STAY="true")
    for line in running.stdout:
        if "complete" in line:
            break
    assert fetched.kept and running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 0


def test_the_program_is_small_enough_for_a_config_map():
    assert sum(file.stat().st_size for file in PROGRAM.glob("*.py")) < 512 * 1024
