"""What the GPU and the CPU of a size cannot do."""

import pytest

from tests.planner.rules.cases import check, code_of
from tests.planner.stacks import A100, H100, findings, resources, settings, with_env

CASES = [
    ("GPU-001", settings(), "model.attention.flashAttention", "true -> false", "8.0 and the V100 has 7.0", {"gpuPool": A100}),
    (
        "GPU-002",
        settings(model={"quantization": {"precision": "fp8"}}),
        "model.quantization.precision",
        "fp8 -> int8",
        "the V100 cannot compute in fp8",
        {"gpuPool": H100},
    ),
    ("GPU-003", settings(), "model.quantization.precision", "int8 -> int8", "no INT8 tensor cores", {"gpuPool": A100}),
    (
        "GPU-004",
        settings(model={"compilation": {"tensorrt": {"enabled": True}}}),
        "model.compilation.tensorrt.enabled",
        "true -> false",
        "was the last to support the V100",
        {"gpuPool": A100},
    ),
    (
        "GPU-005",
        settings(shard=resources("10", "200Gi", gpus=2) | {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]}),
        "shard.env.CUDA_VISIBLE_DEVICES",
        "0 -> 0,1",
        "would see only 1 of them",
        {"shard": resources("5", "100Gi") | {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "0"}]}},
    ),
    (
        "MODEL-001",
        settings(gpuPool=A100, model={"compilation": {"tensorrt": {"enabled": True, "precision": "fp16"}}}),
        "model.compilation.tensorrt.precision",
        "fp16 -> int8",
        "in 2 bytes",
        {"model": {"compilation": {"tensorrt": {"enabled": True, "precision": "int8"}}}},
    ),
    (
        "CPU-001",
        settings(shard=with_env(ENABLE_AVX512="true")),
        "shard.env.ENABLE_AVX512",
        "true -> false",
        "Broadwell",
        {"gpuPool": H100},
    ),
    (
        "PROF-001",
        settings(),
        "profiling.gpu.nvprof",
        "true -> false",
        "no longer part of CUDA",
        {"profiling": {"gpu": {"nvprof": False}}},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=code_of)
def test_a_contradiction_gives_its_finding_and_the_mended_stack_gives_none(case):
    check(case)


def test_engines_kernels_decide_which_rules_of_the_hardware_apply():
    """llama.cpp's flash attention runs on a T4 or V100, and its INT8 products are INT8 there."""
    on_t4 = {"model": {"name": "llama-2-7b"}, "sharding": {"shardsCount": 1}, "gpuPool": {"vmSize": "Standard_NC4as_T4_v3", "zones": []}}
    fa2 = {finding.code for finding in findings(settings(**on_t4))}
    own = {finding.code for finding in findings(settings(engine="llama_cpp", **on_t4))}
    assert "GPU-001" in fa2 and "GPU-001" not in own
    on_v100 = on_t4 | {"gpuPool": {"vmSize": "Standard_NC24s_v3"}}
    assert "GPU-003" in {finding.code for finding in findings(settings(**on_v100))}
    assert "GPU-003" not in {finding.code for finding in findings(settings(engine="llama_cpp", **on_v100))}
