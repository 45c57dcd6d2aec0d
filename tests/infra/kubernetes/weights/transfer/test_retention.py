"""Weights of earlier sources: deleted when both they and what replaced them are older than is asked, and nothing else ever is."""

import json
import os
import time

import pytest

from tests.infra.kubernetes.weights.transfer.conftest import GGUF, HUB_MODEL, MANIFEST, ONE_FILE, fails, succeeds

pytestmark = pytest.mark.process

DAY = 86400
RETENTION = {"RETENTION_SECONDS": str(14 * DAY)}
OLD, NEW = "llama-2-7b-00000000", "llama-2-7b-11111111"
BY_HAND = {"weights/llama-2-70b/model.gguf": b"uploaded", "weights/calibration.json": b"{}"}


@pytest.fixture
def two(stand):
    """Weights of an earlier source and of this one, and what people have put beside them."""
    stand.world.blobs |= BY_HAND
    succeeds(stand.run(SOURCE=HUB_MODEL, FOLDER=OLD))
    succeeds(stand.run(SOURCE=ONE_FILE, FOLDER=NEW))
    stand.environment |= RETENTION | {"FOLDER": NEW}
    return stand


def folders(stand):
    return {name.split("/")[1] for name in stand.world.blobs}


def aged(stand, folder, days):
    stand.world.written[f"weights/{folder}/{MANIFEST}"] = time.time() - days * DAY


@pytest.mark.parametrize(
    ("old", "new", "goes"),
    [
        (30, 15, True),
        # Pods of the version before may still run, and someone may want to go back to it.
        (30, 13, False),
        # It was fetched a moment ago, for a deployment that has failed since.
        (1, 30, False),
    ],
)
def test_both_must_have_been_there_for_so_long(two, old, new, goes):
    aged(two, OLD, old)
    aged(two, NEW, new)
    said = succeeds(two.run("forget"))
    assert folders(two) == {"llama-2-70b", "calibration.json", NEW} | (set() if goes else {OLD})
    assert said.startswith(f"weights: the weight storage, {OLD}: {'deleted' if goes else 'stays for'}") and HUB_MODEL in said


def test_what_people_have_put_there_stays(two):
    """A folder without a manifest, and a copy of a fetched one under another name."""
    for name in [name for name in two.world.blobs if f"/{OLD}/" in name]:
        two.world.blobs[name.replace(OLD, "my-model")] = two.world.blobs[name]
    for folder in (OLD, NEW, "my-model"):
        aged(two, folder, 99)
    before = dict(two.world.blobs)
    succeeds(two.run("forget"))
    assert two.world.blobs == {name: body for name, body in before.items() if f"/{OLD}/" not in name}


def test_nothing_goes_before_the_wanted_weights_are_complete(two):
    aged(two, OLD, 99)
    del two.world.blobs[f"weights/{NEW}/{MANIFEST}"]
    fails(two.run("forget"), "nothing is deleted")
    assert OLD in folders(two)


def half_deleted(two):
    """The pod ended in the middle."""
    aged(two, OLD, 99)
    aged(two, NEW, 99)
    two.world.refuse_deletes_after = 2
    fails(two.run("forget"), "403")
    two.world.refuse_deletes_after = None
    assert len([name for name in two.world.blobs if f"/{OLD}/" in name]) == 3


def test_what_was_begun_is_gone_on_with(two):
    half_deleted(two)
    succeeds(two.run("forget"))
    assert OLD not in folders(two)


def test_half_a_folder_is_not_taken_for_a_whole_one_on_the_way_back(two):
    half_deleted(two)
    done = two.run(SOURCE=HUB_MODEL, FOLDER=OLD)
    assert "complete already" not in done.stdout and "complete: 4 files" in succeeds(done)
    assert two.world.blobs[f"weights/{OLD}/llama.Q8_0.gguf"] == GGUF


def test_the_way_back_gives_the_others_their_time_anew(two):
    """The storage has been full of both for a month; the one before is wanted again, and pods of the newer one still run."""
    aged(two, OLD, 60)
    aged(two, NEW, 30)
    assert "nothing to do" in succeeds(two.run(SOURCE=HUB_MODEL, FOLDER=OLD))
    succeeds(two.run("forget", FOLDER=OLD))
    assert {OLD, NEW} <= folders(two)
    aged(two, OLD, 15)
    succeeds(two.run("forget", FOLDER=OLD))
    assert NEW not in folders(two)


def on_disk(stand):
    return {entry.name for entry in stand.disk.iterdir()}


def kept_since(stand, folder, days):
    then = time.time() - days * DAY
    os.utime(stand.disk / folder / MANIFEST, (then, then))


def test_a_nodes_copies_go_by_the_same_rule(two):
    for folder in (OLD, NEW):
        succeeds(two.run("keep", FOLDER=folder, RETENTION_SECONDS=None))
    (two.disk / "lost+found").mkdir()
    kept_since(two, OLD, 30)
    kept_since(two, NEW, 15)
    succeeds(two.run("keep", RETENTION_SECONDS=None))
    assert on_disk(two) == {OLD, NEW, "lost+found"}
    kept_since(two, NEW, 15)
    # A start of the agent counts as a new use: what went with a rollout must not go with a reboot in the middle of it.
    assert "stays for 14.0 days" in succeeds(two.run("keep"))
    running = two.start("keep", STAY="true", RETENTION_SECONDS="1")
    until = time.monotonic() + 60
    while on_disk(two) != {NEW, "lost+found"} and time.monotonic() < until:
        time.sleep(0.05)
    running.kill()
    running.communicate()
    assert on_disk(two) == {NEW, "lost+found"}


@pytest.mark.parametrize("has_its_own", [False, True])
def test_what_is_left_of_another_copy_goes(two, has_its_own):
    """The copy was interrupted, or its deletion was."""
    if has_its_own:
        succeeds(two.run("keep"))
    draft = two.disk / f".{OLD}.part"
    draft.mkdir()
    (draft / "config.json").write_bytes(b"half")
    succeeds(two.run("keep"))
    assert on_disk(two) == {NEW}


def test_a_disk_that_earlier_copies_fill_is_said_to_be(two):
    succeeds(two.run("keep", FOLDER=OLD))
    manifest = json.loads(two.world.blobs[f"weights/{NEW}/{MANIFEST}"])
    manifest["files"].append({"path": "huge", "size": 2**60, "sha256": "0" * 64})
    two.world.blobs[f"weights/{NEW}/{MANIFEST}"] = json.dumps(manifest).encode()
    fails(two.run("keep"), "pods may still read the 0.0 GiB of earlier weights")
