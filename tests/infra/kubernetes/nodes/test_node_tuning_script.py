"""The node tuning script, run for real: on a fake node, and on this machine's kernel where it lets us."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from infra.kubernetes.nodes.node_tuning import setup_script
from settings.operations import NodeTuning

pytestmark = pytest.mark.process

SYSCTLS = "etc/sysctl.d/90-zig-ai.conf"
READY = "run/zig-ai/node-tuned"

# The node's own programs. They keep the Node object in a folder: what the kubelet reported, and the label.
KUBECTL = """#!/bin/sh
echo "kubectl $*" >>"$NODE/calls"
[ "$KUBECONFIG" = "$ROOT/var/lib/kubelet/kubeconfig" ] || { echo "not as the node: $KUBECONFIG" >&2; exit 1; }
case "$*" in
"get node gpu-0 -o jsonpath={.status.capacity.hugepages-2Mi}") cat "$NODE/capacity" ;;
"get node gpu-0 -o jsonpath={.metadata.labels.zig-ai\\\\.io/huge-pages-2mi}") cat "$NODE/label" ;;
"label node gpu-0 zig-ai.io/huge-pages-2mi-") : >"$NODE/label" ;;
"label node gpu-0 zig-ai.io/huge-pages-2mi="*" --overwrite") printf '%s' "${4#*=}" >"$NODE/label" ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$NODE/calls"
[ "$*" = "restart kubelet" ] || exit 1
[ -e "$NODE/kubelet-is-broken" ] && exit 0
printf '%sMi' "$(($(cat "$ROOT/proc/sys/vm/nr_hugepages") * 2))" >"$NODE/capacity"
# What a kubelet does as it starts.
echo 1 >"$ROOT/proc/sys/vm/overcommit_memory"
"""
# A kernel that has no more contiguous memory than that: reading back shows it.
STINGY_CAT = """#!/bin/sh
case "$1" in
*/nr_hugepages) asked=$(/bin/cat "$1"); [ "$asked" -gt "$MOST" ] && asked=$MOST; echo "$asked" ;;
*) exec /bin/cat "$@" ;;
esac
"""


class Node:
    """A node as the script sees it: a root folder with the kernel's files, and programs on PATH."""

    def __init__(self, tmp_path: Path) -> None:
        self.root, self.node, self.bin = tmp_path / "root", tmp_path / "node", tmp_path / "bin"
        for folder in (self.root / "proc/sys/vm", self.root / "sys/kernel/mm/transparent_hugepage", self.node, self.bin):
            folder.mkdir(parents=True)
        for name, value in {
            "nr_hugepages": 0,
            "overcommit_memory": 0,
            "overcommit_ratio": 50,
            "drop_caches": 0,
            "compact_memory": 0,
        }.items():
            self.vm(name).write_text(f"{value}\n")
        self.thp.write_text("always [madvise] never\n")
        for name, value in {"capacity": "0", "label": "", "calls": ""}.items():
            (self.node / name).write_text(value)
        self.program("kubectl", KUBECTL)
        self.program("systemctl", SYSTEMCTL)
        # The script waits for compaction and for the kubelet; a test need not.
        self.program("sleep", "#!/bin/sh\nexec /bin/sleep 0.05\n")

    @property
    def thp(self) -> Path:
        return self.root / "sys/kernel/mm/transparent_hugepage/enabled"

    @property
    def calls(self) -> list[str]:
        return (self.node / "calls").read_text().splitlines()

    @property
    def label(self) -> str:
        return (self.node / "label").read_text()

    def changes(self) -> list[str]:
        """Calls that change something."""
        return [call for call in self.calls if not call.startswith("kubectl get")]

    def vm(self, name: str) -> Path:
        return self.root / "proc/sys/vm" / name

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "ROOT": str(self.root),
            "NODE": str(self.node),
            "NODE_NAME": "gpu-0",
            "WATCH_SECONDS": "0",
            "KUBELET_SECONDS": "4",
            **more,
        }

    def run(self, shell: str = "sh", tuning: NodeTuning | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        script = setup_script(tuning or NodeTuning())
        return subprocess.run([shell, "-c", script], env=self.environment(**more), capture_output=True, text=True, timeout=30)

    def state(self) -> dict[str, tuple[str, int]]:
        """Every file under the root, with when it was written."""
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): (path.read_text(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_sets_what_is_missing(node, shell):
    result = node.run(shell)
    assert result.returncode == 0, result.stderr
    assert node.vm("nr_hugepages").read_text() == "1024\n"
    assert node.vm("overcommit_ratio").read_text() == "80\n"
    assert node.vm("overcommit_memory").read_text() == "1\n"
    assert node.thp.read_text() == "always\n"
    assert (node.root / SYSCTLS).read_text() == "vm.nr_hugepages = 1024\nvm.overcommit_ratio = 80\nvm.overcommit_memory = 1\n"
    assert (node.root / "etc/tmpfiles.d/90-zig-ai.conf").read_text() == "w /sys/kernel/mm/transparent_hugepage/enabled - - - - always\n"
    assert node.label == "1024"
    assert (node.root / READY).exists()
    assert node.changes() == ["systemctl restart kubelet", "kubectl label node gpu-0 zig-ai.io/huge-pages-2mi=1024 --overwrite"]


def test_changes_nothing_the_second_time(node):
    assert node.run().returncode == 0
    before, calls = node.state(), len(node.changes())
    second = node.run()
    assert second.returncode == 0, second.stderr
    after = node.state()
    # The marker alone is made anew: until it has looked, the script claims nothing.
    assert {path: entry for path, entry in after.items() if path != READY} == {
        path: entry for path, entry in before.items() if path != READY
    }
    assert len(node.changes()) == calls, node.changes()


def test_the_kubelet_is_left_alone_when_it_has_counted_right(node):
    """After a reboot sysctl.d has set the pages before the kubelet counted them."""
    (node.node / "capacity").write_text("2Gi")
    assert node.run().returncode == 0
    assert "systemctl restart kubelet" not in node.calls


@pytest.mark.parametrize(
    ("capacity", "pages"), [("2Gi", 1024), ("2048Mi", 1024), ("2097152Ki", 1024), ("2147483648", 1024), ("2050Mi", 1025), ("", 0), ("0", 0)]
)
def test_reads_quantities_as_kubelets_write_them(node, capacity, pages):
    (node.node / "capacity").write_text(capacity)
    node.vm("nr_hugepages").write_text(f"{pages}\n")
    result = node.run(tuning=NodeTuning(hugePages2Mi=pages))
    assert result.returncode == 0, result.stderr
    assert "systemctl restart kubelet" not in node.calls


def test_fails_loudly_when_the_kernel_gives_fewer_pages(node):
    """It freed caches and compacted first; then the label goes, so that no shard is placed on a node without its pages."""
    node.program("cat", STINGY_CAT)
    (node.node / "label").write_text("1024")
    result = node.run(MOST="700")
    assert result.returncode != 0
    assert "asked for 1024 huge pages of 2 MiB, the kernel gave 700" in result.stderr
    assert node.vm("drop_caches").read_text() == "3\n"
    assert node.vm("compact_memory").read_text() == "1\n"
    assert node.label == ""
    assert not (node.root / READY).exists()


def test_compaction_that_helps_is_enough(node):
    node.program(
        "cat",
        STINGY_CAT.replace("$MOST", '$(if [ "$(/bin/cat $ROOT/proc/sys/vm/compact_memory)" = 1 ]; then echo 1024; else echo 700; fi)'),
    )
    result = node.run()
    assert result.returncode == 0, result.stderr
    assert node.label == "1024"


def test_a_value_that_does_not_stick_is_a_failure(node):
    """A kernel file that takes a write and keeps another value."""
    node.program("cat", '#!/bin/sh\ncase "$1" in */enabled) echo "always [madvise] never" ;; *) exec /bin/cat "$@" ;; esac\n')
    (node.node / "label").write_text("1024")
    result = node.run()
    assert result.returncode != 0
    assert "is madvise after writing always" in result.stderr
    assert node.label == ""


def test_a_kubelet_that_does_not_see_the_pages_is_a_failure(node):
    (node.node / "kubelet-is-broken").touch()
    result = node.run()
    assert result.returncode != 0
    assert "still does not report 2048 MiB" in result.stderr
    assert node.label == ""
    assert not (node.root / READY).exists()


def test_overcommit_is_as_asked_after_the_kubelet_has_set_its_own(node):
    result = node.run(tuning=NodeTuning.model_validate({"overcommitMemory": 2, "overcommitRatio": 95}))
    assert result.returncode == 0, result.stderr
    assert "systemctl restart kubelet" in node.calls
    assert node.vm("overcommit_memory").read_text() == "2\n"


def test_fewer_pages_than_before_are_given_back(node):
    assert node.run().returncode == 0
    result = node.run(tuning=NodeTuning(hugePages2Mi=0))
    assert result.returncode == 0, result.stderr
    assert node.vm("nr_hugepages").read_text() == "0\n"
    assert node.label == "0"


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def start_watching(node) -> subprocess.Popen[str]:
    environment = node.environment(WATCH_SECONDS="1")
    process = subprocess.Popen(["sh", "-c", setup_script(NodeTuning())], env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (node.root / READY).exists())
    return process


def test_drift_is_put_right_while_it_watches(node):
    process = start_watching(node)
    try:
        node.vm("overcommit_ratio").write_text("50\n")
        wait_for(lambda: node.vm("overcommit_ratio").read_text() == "80\n")
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_being_replaced_keeps_the_label(node, shell):
    """A rolling update of the DaemonSet must not make every node unfit for shards while it lasts."""
    environment = node.environment(WATCH_SECONDS="1")
    process = subprocess.Popen([shell, "-c", setup_script(NodeTuning())], env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (node.root / READY).exists())
    process.terminate()
    assert process.wait(10) == 0
    assert node.label == "1024"


def test_a_missing_value_stops_it_before_it_touches_anything(node):
    before = node.state()
    result = node.run(NODE_NAME="")
    assert result.returncode != 0
    assert node.state() == before
    assert node.calls == []


REAL = Path("/proc/sys/vm/nr_hugepages")


@pytest.mark.skipif(not (os.access(REAL, os.W_OK) and os.geteuid() == 0), reason="this machine's kernel takes no huge pages from us")
def test_on_this_machines_kernel(node):
    """Two more pages than there are, from the real kernel, given back afterwards. The rest of the node stays fake."""
    had = int(REAL.read_text())
    node.vm("nr_hugepages").unlink()
    node.vm("nr_hugepages").symlink_to(REAL)
    try:
        result = node.run(tuning=NodeTuning(hugePages2Mi=had + 2))
        assert result.returncode == 0, result.stderr
        assert int(REAL.read_text()) == had + 2
        assert node.label == str(had + 2)
        calls = len(node.changes())
        assert node.run(tuning=NodeTuning(hugePages2Mi=had + 2)).returncode == 0
        assert len(node.changes()) == calls
    finally:
        REAL.write_text(str(had))
    assert int(REAL.read_text()) == had
