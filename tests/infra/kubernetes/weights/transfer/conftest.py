"""The weights' program, run as its pods run it, against real HTTP servers that answer as the hub, storage and a registry do."""

import json
import os
import random
import subprocess
import sys

import pytest

from infra.kubernetes.weights.fetch_job import PROGRAM
from tests.infra.kubernetes.weights.transfer.servers import COMMIT, World

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


@pytest.fixture
def fetched(stand):
    succeeds(stand.run(SOURCE=HUB_MODEL))
    return stand


def fails(done, *words):
    """One clear line, and nothing else."""
    [*_, last] = done.stdout.splitlines()
    assert done.returncode == 1 and done.stderr == "", (done.stdout, done.stderr)
    assert last.startswith("weights: FAILED: ") and all(word in last for word in words), last
    return last


def succeeds(done):
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.splitlines()[-1]
