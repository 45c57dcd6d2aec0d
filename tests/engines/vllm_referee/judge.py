"""Judges command lines by one release of vLLM, whose environment this runs in; nothing of the project is imported.

What a start does is done by vLLM's own code, in its order, up to where a GPU would compute: the command line is parsed and validated, the
configuration made, the model built (a few layers of the first and the last stage, on PyTorch's `meta` device, which holds no weights) with
the attention kernels and the quantisation methods that it chooses for the GPU, the cache counted and laid out, the scheduler made with its
connector.
Stand-ins answer for the GPU: its driver's library (name, compute capability, memory), PyTorch's three questions, and the process group.

    python judge.py GPU < lines > verdicts      # GPU: {"capability": "8.0", "memory_mib": 81153, "name": "A100-80GB-PCIe"}

A line: {"args": [...], "environment": {...}, "config": {config.json}, "scheme": "W8A8"}. A verdict: {"starts": true, "attention": [...],
"cache_tokens": ...}, or {"starts": false, "error": "..."}. Each line has a process of its own, forked from one that has imported vLLM.

Not judged: tokenizers, weights on disk, what kernels do, Ray's placement.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import importlib.util
import inspect
import io
import json
import os
import re
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

GIB = 2**30


def stand_in_driver(gpu: dict[str, Any]) -> None:
    """vLLM asks NVIDIA's management library through a copy of pynvml, before anything else is imported."""
    path = Path(importlib.util.find_spec("vllm").origin).parent / "third_party" / "pynvml.py"
    spec = importlib.util.spec_from_file_location("vllm.third_party.pynvml", path)
    pynvml = importlib.util.module_from_spec(spec)
    folder = types.ModuleType("vllm.third_party")
    folder.__path__ = [str(path.parent)]
    vars(folder)["pynvml"] = pynvml
    sys.modules |= {"vllm.third_party": folder, "vllm.third_party.pynvml": pynvml}
    spec.loader.exec_module(pynvml)
    memory = gpu["memory_mib"] * 2**20
    capability = tuple(int(part) for part in gpu["capability"].split("."))
    answers = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 8,
        "nvmlDeviceGetHandleByIndex": 0,
        "nvmlDeviceGetCudaComputeCapability": capability,
        "nvmlDeviceGetName": gpu["name"],
        "nvmlDeviceGetMemoryInfo": types.SimpleNamespace(total=memory, free=memory, used=0),
        "nvmlDeviceGetUUID": "GPU-0",
        "nvmlDeviceGetP2PStatus": pynvml.NVML_P2P_STATUS_OK,
    }
    for name, answer in answers.items():
        setattr(pynvml, name, lambda *_, answer=answer: answer)
    # That of the node: vLLM sets 4 GiB for each GPU aside, and ends where that is too much of it.
    import psutil
    import torch

    psutil.virtual_memory = lambda: types.SimpleNamespace(total=220 * GIB, available=220 * GIB)
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 8
    torch.cuda.get_device_capability = lambda *_: capability
    torch.cuda.get_device_name = lambda *_: gpu["name"]
    torch.cuda.Stream = type("Stream", (), {"__init__": lambda *_, **__: None})


def imported() -> None:
    """What every line needs, once. vLLM looks at each model class in a new process, to keep CUDA out of its own; here there is none."""
    import vllm.engine.arg_utils
    import vllm.entrypoints.cli.serve  # noqa: F401
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda function: function()


def configuration(args: list[str]) -> Any:
    """What `vllm serve` makes of the command line before it starts its engine."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.usage.usage_lib import UsageContext

    try:
        from vllm.utils.argparse_utils import FlexibleArgumentParser
    except ImportError:
        from vllm.utils import FlexibleArgumentParser

    command, parser = ServeSubcommand(), FlexibleArgumentParser()
    command.subparser_init(parser.add_subparsers(dest="subparser"))
    parsed = parser.parse_args(args)
    command.validate(parsed)
    parsed.model = parsed.model_tag
    return AsyncEngineArgs.from_cli_args(parsed).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)


def group(rank: int, size: int) -> Any:
    """A process group in which nobody else is."""
    import torch
    from vllm.distributed.parallel_state import GroupCoordinator

    made = GroupCoordinator.__new__(GroupCoordinator)
    made.__dict__ |= {"rank": rank, "ranks": list(range(size)), "world_size": size, "local_rank": 0, "rank_in_group": rank}
    made.__dict__ |= dict.fromkeys(("cpu_group", "device_group"), types.SimpleNamespace(size=lambda: size, rank=lambda: rank))
    made.__dict__ |= dict.fromkeys(("device_communicator", "mq_broadcaster"))
    made.__dict__ |= {"unique_name": f"stand-in {rank} of {size}", "device": torch.device("meta"), "use_custom_op_call": True}
    return made


def on_meta() -> Any:
    """What is asked to be on a GPU is nowhere."""
    import torch
    from torch.overrides import TorchFunctionMode

    class OnMeta(TorchFunctionMode):
        def __torch_function__(self, function, kinds, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
                kwargs["device"] = "meta"
            return function(*args, **kwargs)

    return OnMeta()


def built(config: Any, stage: int) -> Any:
    """The model's part of one stage, as rank 0 of it builds it; Bloom's slopes are numbers of Python's at once, so they are computed."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.distributed import parallel_state

    try:
        from vllm.model_executor.model_loader.utils import initialize_model
        from vllm.utils.torch_utils import set_default_torch_dtype
    except ImportError:
        from vllm.model_executor.model_loader.loader import _initialize_model as initialize_model
        from vllm.model_executor.model_loader.utils import set_default_torch_dtype

    parallel = config.parallel_config
    sizes = {"_TP": parallel.tensor_parallel_size, "_EP": parallel.tensor_parallel_size, "_PP": parallel.pipeline_parallel_size}
    for name in ("_WORLD", "_TP", "_PP", "_DP", "_EP", "_EPLB", "_DCP", "_PCP"):
        if hasattr(parallel_state, name):
            setattr(parallel_state, name, group(stage if name == "_PP" else 0, sizes.get(name, 1)))
    from vllm.model_executor.models import bloom

    slopes = inspect.unwrap(bloom._get_alibi_slopes)

    @functools.wraps(slopes)
    def computed(heads: int) -> Any:
        with torch.device("cpu"):
            return slopes(heads)

    bloom._get_alibi_slopes = computed
    config.compilation_config.static_forward_context.clear()
    with set_current_vllm_config(config), set_default_torch_dtype(config.model_config.dtype), torch.device("meta"), on_meta():
        return initialize_model(config)


def fewer_layers(config: Any) -> tuple[int, int]:
    """The layers of a stage that are built, and those that the largest stage has: all but the first are alike, and each costs time."""
    from vllm.distributed.utils import get_pp_indices

    model, stages = config.model_config.hf_text_config, config.parallel_config.pipeline_parallel_size
    ends = [get_pp_indices(model.num_hidden_layers, stage, stages) for stage in range(stages)]
    os.environ.pop("VLLM_PP_LAYER_PARTITION", None)
    most = max(end - start for start, end in ends)
    kinds = getattr(model, "layer_types", None) or getattr(model, "layers_block_type", None) or []
    few = most if len(set(kinds)) > 1 else min(most, (getattr(model, "first_k_dense_replace", None) or 0) + 2)
    if few * stages < model.num_hidden_layers:
        model.num_hidden_layers = few * stages
        return few, most
    return most, most


def newer(config: Any) -> dict[str, Any]:
    """The engine of the releases with one engine (V1): as EngineCore's `__init__` does it."""
    from vllm.config import get_layers_from_vllm_config, set_current_vllm_config
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.v1.core.kv_cache_utils import generate_scheduler_kv_cache_config, get_kv_cache_configs
    from vllm.v1.executor.abstract import Executor

    Executor.get_class(config)
    few, most = fewer_layers(config)
    kernels, specs = set(), []
    for stage in sorted({0, config.parallel_config.pipeline_parallel_size - 1}):
        built(config, stage)
        with set_current_vllm_config(config):
            layers = get_layers_from_vllm_config(config, AttentionLayerBase)
            specs.append({name: spec for name, layer in layers.items() if (spec := layer.get_kv_cache_spec(config))})
            kernels |= {layer.get_attn_backend().get_name() for layer in layers.values()}
    caches = get_kv_cache_configs(config, specs, [config.cache_config.kv_cache_memory_bytes * few // most] * len(specs))
    cache = generate_scheduler_kv_cache_config(caches)
    config.cache_config.num_gpu_blocks = cache.num_blocks
    scheduler = config.scheduler_config.get_scheduler_cls()
    scheduler(vllm_config=config, kv_cache_config=cache, structured_output_manager=None, block_size=config.cache_config.block_size)
    tokens = cache.num_blocks * config.cache_config.block_size // len(cache.kv_cache_groups)
    return {"starts": True, "attention": sorted(kernels), "cache_tokens": tokens}


def older(config: Any) -> dict[str, Any]:
    """The V0 engine: as its workers do it."""
    from vllm.attention.layer import Attention
    from vllm.worker.worker import raise_if_cache_size_invalid

    fewer_layers(config)
    kernels, stages, cache = set(), config.parallel_config.pipeline_parallel_size, config.cache_config
    for stage in sorted({0, stages - 1}):
        kernels |= {type(layer.impl).__name__ for layer in built(config, stage).modules() if isinstance(layer, Attention)}
    blocks, longest = cache.num_gpu_blocks_override, config.model_config.max_model_len
    raise_if_cache_size_invalid(blocks, cache.block_size, config.model_config.is_attention_free, longest, stages)
    return {"starts": True, "attention": sorted(kernels), "cache_tokens": blocks * cache.block_size}


def quantization(scheme: str) -> dict[str, Any]:
    """What a checkpoint's config.json says of itself: as llm-compressor writes it, or GPTQ's tools."""
    if scheme.startswith("gptq"):
        return {"quant_method": "gptq", "bits": int(scheme[-1]), "group_size": 128, "desc_act": False, "sym": True}
    if scheme == "awq":
        return {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
    if scheme == "fp8":
        return {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    from compressed_tensors.quantization import QuantizationConfig, QuantizationScheme
    from compressed_tensors.quantization.quant_scheme import PRESET_SCHEMES

    made = QuantizationConfig(
        config_groups={"group_0": QuantizationScheme(targets=["Linear"], **PRESET_SCHEMES[scheme])},
        format={"W8A8": "int-quantized", "FP8_DYNAMIC": "float-quantized", "W4A16": "pack-quantized"}[scheme],
        quantization_status="compressed",
        ignore=["lm_head"],
    )
    return json.loads(made.model_dump_json()) | {"quant_method": "compressed-tensors"}


def judged(line: dict[str, Any], folder: str) -> dict[str, Any]:
    config = dict(line["config"])
    if line["scheme"] == "published":
        pass
    elif line["scheme"]:
        config["quantization_config"] = quantization(line["scheme"])
    (Path(folder) / "config.json").write_text(json.dumps(config))
    os.environ |= line["environment"]
    verb, _, *flags = line["args"]
    heard = io.StringIO()
    try:
        with contextlib.redirect_stderr(heard):
            made = configuration([verb, folder, *flags])
        return (older if os.environ.get("VLLM_USE_V1") == "0" else newer)(made)
    except SystemExit:
        return {"starts": False, "error": heard.getvalue().strip().splitlines()[-1]}
    except BaseException as error:
        text = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}").replace(folder, "MODEL")
        if os.environ.get("REFEREE_TRACE"):
            import traceback

            traceback.print_exc()
        return {"starts": False, "error": text[:600]}


def warmed_up(lines: list[dict[str, Any]]) -> None:
    """Judges one line of each architecture here, for what it imports: every process after it has that at once."""
    for line in {line["config"]["architectures"][0]: line for line in lines}.values():
        before = dict(os.environ)
        with tempfile.TemporaryDirectory() as folder:
            judged(line, folder)
        os.environ.clear()
        os.environ |= before


def in_a_process_of_its_own(line: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as answer:
        child = os.fork()
        if child == 0:
            try:
                json.dump(judged(line, folder), answer)
                answer.flush()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        answer.seek(0)
        return answer.read() or json.dumps({"starts": False, "error": "the process ended"})


def main() -> None:
    stand_in_driver(json.loads(sys.argv[1]))
    faulthandler.enable()
    answers, sys.stdout = sys.stdout, sys.stderr
    imported()
    lines = [json.loads(text) for text in sys.stdin]
    warmed_up(lines)
    for line in lines:
        print(in_a_process_of_its_own(line), file=answers, flush=True)


if __name__ == "__main__":
    main()
