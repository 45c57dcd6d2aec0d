"""Where weights are, how long they take, whether a node's disk holds them; and sources that an engine cannot read."""

import pytest

from planner import plan
from planner.__main__ import main
from planner.catalogue import hardware, local_disk, node_agents
from planner.fit import placement, weights
from settings import SettingsError, files
from tests.planner.stacks import GGUF, fetched, llama_cpp, settings, stack

COMMIT = "0" * 40


def size(name):
    found = hardware.gpu_size(name, "eastus")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "room_gib"),
    [
        # A temporary disk, less what an ephemeral operating system disk of 128 GiB takes of it.
        ("Standard_NC24s_v3", 2948 - 128),
        ("Standard_NC4as_T4_v3", 176 - 128),
        # Raw NVMe disks, one for each GPU; weights are on one of them.
        ("Standard_NC24ads_A100_v4", 894),
        ("Standard_NC96ads_A100_v4", 894),
        ("Standard_ND96isr_H100_v5", 3576),
        # The only disk, which the operating system then leaves alone.
        ("Standard_NC40ads_H100_v5", 3576),
        ("Standard_ND128isr_NDR_GB200_v6", None),
    ],
)
def test_room_on_a_nodes_own_disk(name, room_gib):
    assert local_disk.room_for_weights_gib(size(name), 128) == room_gib


@pytest.mark.parametrize("name", ["Standard_NC40ads_H100_v5", "Standard_NC24s_v3"])
def test_the_operating_system_leaves_the_only_nvme_disk_to_the_weights(name):
    """An ephemeral OS disk of 128 GiB on it makes the other 3,448 unusable."""
    expected = "Managed" if size(name).temp_disk_kind == "nvme" else "Ephemeral"
    assert local_disk.os_disk_type(size(name), 128, for_weights=True) == expected
    assert local_disk.os_disk_type(size(name), 128, for_weights=False) == "Ephemeral"


def test_a_cut_gpu_cuts_no_disk():
    """With MIG a node has more GPUs to count, and no more disks."""
    assert plan(settings(gpuPool={"vmSize": "Standard_NC24ads_A100_v4", "mig": "MIG2g"})).size.nvme_disk_gib == 894


def test_another_source_is_another_folder_and_none_is_the_models_name():
    folders = {plan(fetched(model={"source": GGUF.replace("0" * 40, digit * 40)})).weights.folder for digit in "01"}
    assert len(folders) == 2 and all(folder.startswith("llama-2-70b-") for folder in folders)
    assert plan(llama_cpp()).weights.folder == "llama-2-70b"


def test_times_are_bytes_over_the_slowest_part_of_the_way():
    made = plan(fetched()).weights
    bytes_ = made.gib * 2**30
    # 40 Gbit/s of the node; the account has 200.
    assert made.copy_s == pytest.approx(bytes_ / (40e9 / 8))
    assert made.load_s == pytest.approx(bytes_ / 200e6)
    assert made.fetch_wait_s == pytest.approx(900 + 2 * bytes_ / 50e6)


def test_many_nodes_share_what_the_storage_gives():
    """Fifty pipelines at once: each has a fiftieth of the account's 200 Gbit/s, and of 50 Gbit/s where Azure gives no more."""
    many = fetched(sharding={"pipelines": 50}, gpuPool={"vmSize": "Standard_NC48ads_A100_v4", "maxNodes": 50})
    assert plan(many).weights.storage_mb_s == pytest.approx(200_000 / 50 / 8)
    elsewhere = many.model_copy(update={"azure": many.azure.model_copy(update={"location": "polandcentral"})})
    assert plan(elsewhere).weights.storage_mb_s == pytest.approx(50_000 / 50 / 8)


def test_pods_of_a_node_share_its_way_to_the_storage():
    made = plan(settings())
    assert (made.size.network_mbps, made.weights.load_mb_s) == (None, 1000)
    # Four of eight shards a node, each with its part.
    assert made.weights.load_s == pytest.approx(made.weights.gib / 2 * 2**30 / 1e9)


def test_an_engine_with_a_cache_of_its_own_needs_no_copy():
    made = plan(settings(model={"source": f"hf://org/name@{COMMIT}"}))
    assert not made.weights.on_node and made.settings.caching.l2_cache.enabled
    assert not [finding for finding in made.findings if finding.key.startswith("caching")]


def test_the_copy_is_one_more_agent_on_the_node():
    with_copy, without = plan(fetched()), plan(fetched(caching={"l2Cache": {"enabled": False}}))
    assert (with_copy.weights.on_node, without.weights.on_node) == (True, False)
    room, more = (placement.node_room(made.settings, made.size) for made in (with_copy, without))
    agent = node_agents.WEIGHTS_COPY
    assert more.cpu_millicores - room.cpu_millicores == agent.cpu_millicores > 0
    assert more.memory_mib - room.memory_mib == agent.memory_mib > 0


def test_dev_keeps_a_copy_and_prod_waits_for_whoever_has_the_weights():
    dev, prod = plan(stack("dev")).weights, plan(stack("prod")).weights
    assert dev.on_node and dev.source and dev.file == "model.gguf"
    assert not prod.on_node and prod.source is None


@pytest.mark.parametrize(
    ("source", "consequence"),
    [
        (f"hf://org/name@{COMMIT}", "reads one GGUF file"),
        ("https://account.blob.core.windows.net/models/name/", "reads one GGUF file"),
        (f"hf://org/name@{COMMIT}/name-00001-of-00003.gguf", "one of several parts"),
        (f"hf://org/name@{COMMIT}/model.safetensors", "model.safetensors is in another format"),
    ],
)
def test_an_engine_of_one_file_refuses_what_is_not_one(source, consequence):
    with pytest.raises(SettingsError) as refused:
        plan(llama_cpp(model={"source": source}))
    [problem] = refused.value.problems
    assert problem.key == "model.source" and consequence in problem.consequence
    # What an image of the user's own reads, they know.
    assert plan(settings(model={"source": source})).weights.source == source


def test_an_engine_of_folders_refuses_one_file():
    """dev's source under `engine: vllm`: the switch is one line, and vLLM would have found a folder without a config.json."""
    source, name = stack("dev").model.source, "llama-2-7b"
    with pytest.raises(SettingsError) as refused:
        plan(settings(engine="vllm", model={"name": name, "source": source}))
    [problem] = refused.value.problems
    assert problem.key == "model.source" and "this is one file" in problem.consequence
    folder = f"hf://org/Llama-2-7b@{COMMIT}"
    assert plan(settings(engine="vllm", model={"name": name, "source": folder}, sharding={"shardsCount": 1})).weights.source == folder


def test_a_collection_of_gguf_files_is_no_folder_for_vllm():
    folder = stack("dev").model.source.rpartition("/")[0]
    with pytest.raises(SettingsError) as refused:
        plan(settings(engine="vllm", model={"name": "llama-2-7b", "source": folder}, sharding={"shardsCount": 1}))
    [problem] = refused.value.problems
    assert problem.key == "model.source" and "a collection of GGUF files" in problem.consequence


def test_a_finding_and_its_key_stand_apart(tmp_path, capsys):
    """WEIGHTS-003 is as long as the column."""
    text = files.stack_file_path("dev").read_text().replace("mode: strict", "mode: fitted")
    (tmp_path / "Pulumi.dev.yaml").write_text(text.replace('size: "8Gi"\n    l3', 'size: "1Gi"\n    l3'))
    assert main(["plan", "--file", str(tmp_path / "Pulumi.dev.yaml")]) == 0
    assert "WEIGHTS-003 caching.l2Cache.size: 1Gi" in capsys.readouterr().out


def test_an_artifact_may_be_one_file():
    assert plan(llama_cpp(model={"source": f"oci://registry.example.com/models/name@sha256:{'0' * 64}"})).weights.file == "model.gguf"


def test_the_slowest_network_is_the_catalogues():
    known = [found.network_mbps for name in hardware.gpu_size_names() if (found := size(name)).network_mbps]
    assert min(known) == weights.SLOWEST_NETWORK_MBPS
