"""The catalogue: every figure has its source and date, and the rows agree with each other."""

import csv
import datetime
import subprocess
import sys
from pathlib import Path

import pytest

from planner.catalogue import hardware, model_shapes

DATA = Path(hardware.__file__).parent / "data"

# For each file: the columns that name a row, and what each source column speaks for.
GPU_SIZE = (
    "gpu gpus gpu_memory_gb vcpus ram_gib temp_disk_gib temp_disk_kind max_nics network_mbps accelerated_networking infiniband gpu_link "
    "cpu_model avx512 quota_family retirement_date hibernate gpu_memory_total_gb local_nvme_gib infiniband_gbps aks_driver notes"
)
SHAPE = (
    "params_b layers hidden heads kv_heads head_dim intermediate vocab kv kv_lora_rank qk_rope_head_dim experts experts_per_token "
    "shared_experts expert_intermediate dense_layers tied_embeddings"
)
FILES = {
    "gpu_sizes.csv": ("size", {"source": GPU_SIZE}),
    "prices.csv": ("size region", {"source": "usd_per_hour", "spot_source": "spot_usd_per_hour"}),
    "regions.csv": ("region", {"source": "name"}),
    "models.csv": ("model", {"source": SHAPE, "context_source": "context", "published_source": "published_gb"}),
    "gpus.csv": (
        "gpu family form chip memory_gb",
        {
            "memory_source": "memory_mib",
            "bandwidth_source": "bandwidth_gb_s",
            "compute_source": "fp16_tflops bf16_tflops fp8_tflops int8_tflops fp4_tflops",
            "link_source": "link_gb_s",
            "features_source": "compute_capability bf16 fp8 int8_tensor_cores flash_attention_2 mig tensorrt_until",
        },
    ),
}


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def unsourced(name: str, table: list[dict[str, str]]) -> list[str]:
    """Every figure of a file's rows that has no source, no date, or a date that is none; and every column nobody speaks for."""
    keys, sources = FILES[name]
    spoken_for = {column: source for source, columns in sources.items() for column in columns.split()}
    dates = {f"{source}_date" for source in sources}
    complaints = [
        f"{column}: no source speaks for it" for column in table[0] if column not in {*keys.split(), *spoken_for, *sources, *dates}
    ]
    for row in table:
        for column, source in spoken_for.items():
            if not row[column]:
                continue
            try:
                dated = datetime.date.fromisoformat(row[f"{source}_date"]) <= datetime.date.today()
            except ValueError:
                dated = False
            if not (row[source] and dated):
                complaints.append(f"{row[keys.split()[0]]} {column}: {row[source] or 'no source'}, {row[f'{source}_date'] or 'no date'}")
    return complaints


@pytest.mark.parametrize("path", sorted(DATA.glob("*.csv")), ids=lambda path: path.name)
def test_every_figure_has_its_source_and_date(path):
    assert path.name in FILES, f"{path.name}: say in FILES which source speaks for which column"
    assert unsourced(path.name, rows(path.name)) == []


@pytest.mark.parametrize("name", FILES)
def test_a_figure_without_source_or_date_is_found(name):
    table = rows(name)
    for source, columns in FILES[name][1].items():
        number = next(index for index, row in enumerate(table) if any(row[column] for column in columns.split()))
        for column in (source, f"{source}_date"):
            assert unsourced(name, [table[number] | {column: ""}])
        assert unsourced(name, [table[number] | {f"{source}_date": "2026"}])
    assert unsourced(name, [table[0] | {"rumour": "42"}])


def test_every_region_with_a_price_is_one():
    assert set(hardware.regions()) < set(hardware.region_names())


def test_every_size_has_its_gpu_and_the_gpu_has_the_memory_it_is_sold_with():
    for name in hardware.gpu_size_names():
        size = hardware.gpu_size(name, "eastus")
        gpu = hardware.gpu(size.gpu)
        assert gpu is not None, f"{name}: gpus.csv has no {size.gpu}"
        sold_gib = size.gpu_memory_gb
        assert 0.9 * sold_gib < gpu.memory_gib < 1.02 * sold_gib, f"{name}: {gpu.memory_gib} GiB of {sold_gib}"


# MIG needs compute capability 8.0, and the guide's list of supported GPUs has no A10, L4 or L40S, which are of 8.6 and 8.9:
# docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-gpus.html
WITHOUT_MIG = (8.6, 8.9)


def test_what_a_gpu_can_do_follows_its_compute_capability():
    for gpu in hardware._gpus().values():
        if gpu.compute_capability is None:
            continue
        capability = float(gpu.compute_capability)
        assert (gpu.bf16, gpu.flash_attention_2) == (capability >= 8, capability >= 8)
        assert gpu.fp8 == (capability >= 8.9)
        assert gpu.int8_tensor_cores == (capability >= 7.5)
        assert gpu.mig == (capability >= 8 and capability not in WITHOUT_MIG)
        assert (gpu.tensorrt_until is not None) == (capability < 7.5)


def test_a_gpu_has_no_figure_for_a_precision_it_lacks():
    for gpu in hardware._gpus().values():
        fp4 = (gpu.compute_capability or "").startswith("10.")
        supported = {"fp16": True, "bf16": gpu.bf16, "fp8": gpu.fp8, "int8": gpu.int8_tensor_cores, "fp4": fp4}
        assert gpu.dense_tflops, gpu.name
        assert all(supported[precision] for precision in gpu.dense_tflops), gpu.name


def test_the_guides_gpu_computes_in_16_bits_only():
    v100 = hardware.gpu("V100")
    assert v100.dense_tflops == {"fp16": 112}
    assert not (v100.bf16 or v100.fp8 or v100.int8_tensor_cores or v100.flash_attention_2 or v100.mig)
    assert v100.tensorrt_until == "10.4"
    assert 15.7 < v100.memory_gib < 15.8


def test_the_guides_size_has_broadwell_cpus_and_its_price():
    size = hardware.gpu_size("Standard_NC24s_v3", "eastus")
    assert (size.cpu_model, size.avx512, size.gpu_link) == ("Intel Xeon E5-2690 v4 (Broadwell)", False, "pcie3")
    assert (size.usd_per_hour, size.spot_usd_per_hour) == (12.24, 1.5912)


def test_what_is_not_known_is_none():
    assert hardware.gpu("P100") is None
    assert hardware.gpu_size("Standard_NC24s_v2", "eastus") is None
    nowhere = hardware.gpu_size("Standard_NC24s_v3", "atlantis")
    assert (nowhere.usd_per_hour, nowhere.spot_usd_per_hour) == (None, None)


def counted_params_b(shape: model_shapes.ModelShape) -> float:
    """From the shape alone. Models whose feed-forward is four times as wide as the model have no gate (BLOOM, Falcon)."""
    projections = 2 if shape.intermediate == 4 * shape.hidden else 3
    attention = 2 * shape.hidden * shape.head_dim * (shape.heads + shape.kv_heads)
    if shape.kv == "mla":
        # DeepSeek-V3's config.json: q_lora_rank 1536, qk_nope_head_dim and v_head_dim 128.
        queries = 1536 * (shape.hidden + shape.heads * (128 + shape.qk_rope_head_dim))
        latent = shape.hidden * (shape.kv_lora_rank + shape.qk_rope_head_dim) + shape.kv_lora_rank * shape.heads * 256
        attention = queries + latent + shape.heads * 128 * shape.hidden
    expert = projections * shape.hidden * shape.expert_intermediate
    with_experts = shape.layers - shape.dense_layers if shape.experts else 0
    dense = (shape.layers - with_experts) * projections * shape.hidden * shape.intermediate
    tables = shape.vocab * shape.hidden * (1 if shape.tied_embeddings else 2)
    return (shape.layers * attention + dense + with_experts * expert * (shape.experts + shape.shared_experts) + tables) / 1e9


@pytest.mark.parametrize("shape", [model_shapes.models()[row["model"]] for row in rows("models.csv")], ids=lambda shape: shape.name)
def test_a_models_shape_makes_its_parameters(shape):
    assert counted_params_b(shape) == pytest.approx(shape.params_b, rel=0.005)
    assert (shape.kv == "mla") == (shape.kv_lora_rank > 0) == (shape.qk_rope_head_dim > 0)
    assert (shape.experts > 0) == (shape.experts_per_token > 0) == (shape.expert_intermediate > 0)


@pytest.mark.process
def test_nothing_is_read_before_it_is_asked_for():
    """`import planner` has 0.15 s beside pydantic; the tables are for whoever plans."""
    tables = ("hardware._prices", "hardware._sizes", "hardware._gpus", "model_shapes.models")
    counts = " + ".join(f"{table}.cache_info().misses" for table in tables)
    command = [sys.executable, "-c", f"import planner; from planner.catalogue import hardware, model_shapes; print({counts})"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=DATA.parents[2])
    assert run.stdout.strip() == "0"
