"""Weights from the storage to a node's own disk: seen whole or not at all, and what a disk that is too small says."""

import json
import resource
import signal

import pytest

from tests.infra.kubernetes.weights.transfer.conftest import GGUF, MANIFEST, MIB, fails, succeeds

pytestmark = pytest.mark.process


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
