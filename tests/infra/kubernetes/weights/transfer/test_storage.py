"""Weights into the stack's storage: whole or not at all, what is there already is not sent again, and who may write."""

import random
import time

import pytest

from infra.kubernetes.weights.fetch_job import PROGRAM
from tests.infra.kubernetes.weights.transfer.conftest import GGUF, HUB_MODEL, MIB, ONE_FILE, fails, succeeds

pytestmark = pytest.mark.process


def test_a_second_run_does_nothing(stand):
    succeeds(stand.run(SOURCE=ONE_FILE))
    before = len(stand.world.log)
    assert "nothing to do" in succeeds(stand.run(SOURCE=ONE_FILE))
    written = [line.split()[1] for line in stand.world.log[before:] if line.startswith("PUT")]
    assert written == ["/weights/llama-2-7b-0a1b2c3d/zig-ai-weights.json"], "so that its age is known: see test_retention.py"
    assert not [line for line in stand.world.log[before:] if "resolve" in line or "tree" in line]


def test_files_that_are_gone_come_again(stand):
    succeeds(stand.run(SOURCE=HUB_MODEL))
    del stand.world.blobs["weights/llama-2-7b-0a1b2c3d/config.json"]
    before = len(stand.world.log)
    succeeds(stand.run(SOURCE=HUB_MODEL))
    assert stand.stored["config.json"] == b'{"a": 1}'
    assert not [line for line in stand.world.log[before:] if "resolve" in line and "config.json" not in line]


def test_what_storage_has_is_what_is_checked(stand):
    """Not what went over the wire: a sum of that would be right here."""
    stand.world.corrupt_storage = True
    fails(stand.run(SOURCE=ONE_FILE), "its source says")
    assert stand.manifest is None


def test_an_interrupted_fetch_goes_on_where_it_was(stand):
    stand.world.break_after = 2
    fails(stand.run(SOURCE=ONE_FILE))
    [staged] = stand.world.blocks.values()
    assert len(staged) == 2
    stand.world.break_after, stand.world.log = None, []
    succeeds(stand.run(SOURCE=ONE_FILE))
    assert stand.stored == {"llama.Q8_0.gguf": GGUF}
    assert stand.world.count("GET /download/") == 2, "of four blocks, two were there"


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


def test_the_program_is_small_enough_for_a_config_map():
    assert sum(file.stat().st_size for file in PROGRAM.glob("*.py")) < 512 * 1024
