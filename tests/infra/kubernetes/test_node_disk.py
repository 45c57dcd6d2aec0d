"""The script that puts a node's own disk where weights are kept, on a fake node: its files, and programs that remember what was done."""

import os
import subprocess

import pytest

from infra.kubernetes.names import NODE_WEIGHTS_DIR
from infra.kubernetes.weights.node_copy import SCRIPT

pytestmark = pytest.mark.process

AZURE_NVME = "Microsoft NVMe Direct Disk v2            "

# They keep the node's disks and mounts as files: $NODE/disks/NAME holds the file system's label, $NODE/mounts one line a mount.
PROGRAMS = {
    "blkid": """
case "$1" in
-L) for disk in "$NODE"/disks/*; do [ "$(cat "$disk" 2>/dev/null)" = "$2" ] && { echo "/dev/${disk##*/}"; exit 0; }; done; exit 2 ;;
-o) content=$(cat "$NODE/disks/${3##*/}"); [ -n "$content" ] && echo "$content" || exit 2 ;;
esac
""",
    "lsblk": """
name=${4##*/}
case "$3" in
NAME) echo "$name"; cat "$NODE/parts/$name" 2>/dev/null || true ;;
MOUNTPOINT) sed -n "s|^/dev/$name ||p" "$NODE/mounts" ;;
esac
""",
    "mountpoint": 'grep -q " ${2#"$ROOT"}\\$" "$NODE/mounts"',
    "mkfs.ext4": """
while [ "$#" -gt 1 ]; do [ "$1" = -L ] && label=$2; shift; done
echo "mkfs $1" >>"$NODE/calls"
printf %s "$label" >"$NODE/disks/${1##*/}"
""",
    "chown": 'echo "$1 $2 ${3#"$ROOT"}" >>"$NODE/owners"',
    "mount": 'while [ "$#" -gt 2 ]; do shift; done; echo "mount $1" >>"$NODE/calls"; echo "${1#"$ROOT"} ${2#"$ROOT"}" >>"$NODE/mounts"',
}


class Node:
    def __init__(self, folder):
        self.root, self.node, self.bin = folder / "root", folder / "node", folder / "bin"
        for path in (self.root / "sys/block", self.node / "disks", self.node / "parts", self.bin):
            path.mkdir(parents=True)
        (self.node / "mounts").write_text("/dev/sda1 /\n")
        (self.node / "calls").write_text("")
        for name, text in PROGRAMS.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.bin / name).chmod(0o755)

    def disk(self, name, model=AZURE_NVME, content="", parts=""):
        device = self.root / "sys/block" / name / "device"
        device.mkdir(parents=True)
        (device / "model").write_text(f"{model}\n")
        (self.node / "disks" / name).write_text(content)
        if parts:
            (self.node / "parts" / name).write_text(parts)

    def temporary_disk(self):
        with (self.node / "mounts").open("a") as mounts:
            mounts.write("/dev/sdb1 /mnt\n")

    @property
    def calls(self):
        return (self.node / "calls").read_text().splitlines()

    @property
    def at_weights(self):
        return [line.split()[0] for line in (self.node / "mounts").read_text().splitlines() if line.endswith(f" {NODE_WEIGHTS_DIR}")]

    def run(self):
        environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "ROOT": str(self.root),
            "NODE": str(self.node),
            "WEIGHTS_DIR": NODE_WEIGHTS_DIR,
            "OWNER": "10001",
        }
        return subprocess.run(["sh", "-c", SCRIPT.read_text()], env=environment, capture_output=True, text=True, timeout=30)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def test_a_raw_nvme_disk_gets_a_file_system(node):
    node.disk("nvme0n1")
    node.disk("nvme1n1")
    node.temporary_disk()
    done = node.run()
    assert done.returncode == 0, done.stderr
    assert (node.calls, node.at_weights) == (["mkfs /dev/nvme0n1", "mount /dev/nvme0n1"], ["/dev/nvme0n1"])


def test_a_second_run_changes_nothing(node):
    node.disk("nvme0n1")
    node.run()
    before = node.calls
    assert node.run().returncode == 0 and node.calls == before


def test_the_disk_belongs_to_who_copies_and_so_does_what_root_copied_earlier(node):
    node.disk("nvme0n1")
    assert node.run().returncode == node.run().returncode == 0
    assert (node.node / "owners").read_text().splitlines() == [f"-R 10001:10001 {NODE_WEIGHTS_DIR}"] * 2


def test_after_a_reboot_the_disk_of_before_is_found_with_its_content(node):
    node.disk("nvme0n1")
    node.disk("nvme1n1", content="zig-ai-weights")
    assert node.run().returncode == 0
    assert (node.calls, node.at_weights) == (["mount /dev/nvme1n1"], ["/dev/nvme1n1"])


@pytest.mark.parametrize(
    "taken",
    [
        {"model": "MSFT NVMe Accelerator v1.0"},
        {"content": "ext4"},
        {"parts": "nvme0n1p1\nnvme0n1p14\n"},
    ],
    ids=["remote or the operating system's", "somebody's file system", "partitions"],
)
def test_a_disk_that_is_not_raw_is_left_alone(node, taken):
    node.disk("nvme0n1", **taken)
    node.temporary_disk()
    assert node.run().returncode == 0
    assert not [call for call in node.calls if "nvme" in call]
    assert node.at_weights == ["/mnt/zig-ai-weights"]


def test_a_mounted_disk_is_left_alone(node):
    node.disk("nvme0n1")
    with (node.node / "mounts").open("a") as mounts:
        mounts.write("/dev/nvme0n1 /somewhere\n")
    node.temporary_disk()
    assert node.run().returncode == 0 and node.at_weights == ["/mnt/zig-ai-weights"]


def test_without_nvme_it_is_the_temporary_disk(node):
    node.temporary_disk()
    assert node.run().returncode == 0
    assert node.at_weights == ["/mnt/zig-ai-weights"] and (node.root / "mnt/zig-ai-weights").is_dir()


def test_without_any_it_is_never_the_operating_systems(node):
    """/mnt is then a folder of the operating system's disk, which the weights would fill."""
    (node.root / "mnt").mkdir()
    done = node.run()
    assert done.returncode == 1 and node.at_weights == []
    [line] = done.stderr.splitlines()
    assert line.startswith("node-disk: FAILED: ") and "caching: {l2Cache: {enabled: false}}" in line
