"""The command lines that the referee judges: what the variations of the stacks render for vLLM, each of its kind once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.flags import command_line, environment
from engines.vllm.command_line import flags, quantization_method, release
from engines.vllm.environment import variables
from planner import plan as make_plan
from planner.catalogue import hardware, model_shapes
from planner.engine_facts.vllm import RELEASE_ON_VOLTA
from planner.fit import checkpoints, stack_memory
from planner.fit.memory_model import published_in
from settings import SettingsError, StackSettings, files
from settings.flatten import with_values
from tests.infra.variations import VARIATIONS, variation
from tests.shipped import TODAY

HERE = Path(__file__).parent
MODELS: dict[str, dict[str, Any]] = json.loads((HERE / "models.json").read_text()) | model_shapes.configs()
"""config.json of each model, those of its fields that vLLM's start reads, with their public source."""

_NUMBERS = ("--kv-cache-memory-bytes", "--max-num-batched-tokens", "--max-num-seqs", "--num-gpu-blocks-override", "--kv-offloading-size")
"""Flags whose number may be any that the plan makes of the settings; what they must hold is compared with `--max-model-len`."""
_ASKED_FOR = ("VLLM_USE_V1", "VLLM_ATTENTION_BACKEND", "VLLM_PP_LAYER_PARTITION")


@dataclass(frozen=True)
class Line:
    """A command line with all that decides whether vLLM starts with it."""

    release: str
    gpu: str
    """A name in planner/catalogue/data/gpus.csv."""
    model: str
    """A name in models.json."""
    scheme: str
    """The checkpoint's quantisation, by llm-compressor's names, gptq with its bits, awq, fp8 as DeepSeek publishes; `published` for what
    its config.json has; empty for 16 bits."""
    args: tuple[str, ...]
    """After `vllm`; the model's folder is its name."""
    environment: tuple[tuple[str, str], ...]

    @property
    def kind(self) -> tuple[str, ...]:
        """The line normalised: lines of one kind start or end alike. Numbers are what they are compared with."""
        args, length = list(self.args), int(self.args[self.args.index("--max-model-len") + 1])
        for flag in _NUMBERS:
            if flag in args:
                args[args.index(flag) + 1] = "N"
        tokens = int(self.args[self.args.index("--max-num-batched-tokens") + 1])
        longest = model_shapes.models()[self.model].context if self.model in model_shapes.models() else 0
        args[args.index("--max-model-len") + 1] = "the model's context" if length == longest else "less"
        whole = "a batch holds the longest request" if tokens >= length else "a batch holds less"
        capability = hardware.gpu(self.gpu).compute_capability
        return (
            self.release,
            f"compute capability {capability}",
            self.model,
            self.scheme,
            *args,
            whole,
            *(f"{name}={value}" for name, value in self.environment),
        )


def line(settings: StackSettings, config_of: str | None = None) -> Line:
    """What a stack renders. `config_of`: the model whose config.json its checkpoint has, where that is not its name's.

    Raises SettingsError for a stack that the planner refuses.
    """
    plan = make_plan(settings)
    model = config_of or plan.settings.model.name
    arguments = command_line(flags(plan.settings, plan))
    values = {one.name: one.value for one in environment(variables(plan.settings, plan))}
    quantization = plan.settings.model.quantization
    precision = quantization.precision if quantization.enabled else "fp16"
    published = "fp8" if quantization_method(plan) == "fp8" else "FP8_DYNAMIC"
    schemes = {"int8": "W8A8", "fp8": published, "int4": "W4A16"}
    if release(plan) == RELEASE_ON_VOLTA:
        schemes = {"int8": "gptq 8", "int4": "gptq 4"}
    elif quantization.method in ("awq", "gptq"):
        schemes = {"int8": "gptq 8", "int4": "gptq 4" if quantization.method == "gptq" else "awq"}
    if published_in(plan.shape, stack_memory.precisions(plan.settings)[0]) and model in model_shapes.configs():
        schemes = dict.fromkeys(schemes | {"mxfp4": "", "nvfp4": ""}, "published")
    return Line(
        release=release(plan),
        gpu=plan.gpu.name,
        model=model,
        scheme=schemes.get(precision, ""),
        args=(arguments[0], model, *arguments[2:]),
        environment=tuple((name, str(values[name])) for name in sorted(_ASKED_FOR) if name in values),
    )


BATCHING = ("coordinator", "config", "dynamicBatching")
COMPRESSION, FLASH = ("model", "kvCache", "compression"), ("model", "attention", "flashAttention")
PRECISION, PROMPTS = ("model", "quantization", "precision"), ("caching", "l1Cache", "enabled")
KINDS = (
    "Standard_NC24s_v3",
    "Standard_NC64as_T4_v3",
    "Standard_NV36ads_A10_v5",
    "Standard_NC48ads_A100_v4",
    "Standard_NC40ads_H100_v5",
    "Standard_ND96isr_H200_v5",
    "Standard_ND128isr_NDR_GB200_v6",
)
"""One size of each generation."""
LARGE = ("Standard_NC24s_v3", "Standard_ND96amsr_A100_v4", "Standard_ND96isr_H200_v5")
OWN_SHAPES = {"gpt-oss-20b": "windowed", "bamba-9b": "hybrid"}
"""Models that the catalogue does not know, by `model.shape` with its `attention`: one has sinks, one has state-space
layers. Both are newer than the release for V100s."""
_LARGE_MODELS = ("deepseek-v3", "kimi-k2", "falcon-180b", "bloom-176b", "llama-3.1-405b")
ONE_BY_ONE = (
    {(*BATCHING, "enabled"): False},
    {(*BATCHING, "priorityBatching"): False},
    {("shard", "config", "memoryMapping"): False},
    {("shard", "env", "CUDA_ENABLE_GRAPHS"): "false"},
    {("model", "quantization", "enabled"): False},
    {("model", "attention", "fusedAttention"): False},
    {("coordinator", "limits", "requestTokens"): 2048},
    {("coordinator", "limits", "requestTokens"): 2048, (*BATCHING, "maxBatchSize"): 256},
    {("sizing", "mode"): "verbatim", ("sharding", "shardsCount"): 3},
)


def _asked(size: str, model: str, values: dict[tuple[str, ...], Any]) -> StackSettings:
    prod = files.from_file(files.stack_file_path("prod"), "prod").require()
    base = {("engine",): "vllm", ("gpuPool", "vmSize"): size, ("model", "name"): model, ("sharding", "layersPerShard"): None}
    return with_values(prod, base | values)


def _shape(name: str) -> dict[str, Any]:
    """`model.shape` from config.json."""
    config = MODELS[name]["config"]
    keys = {
        "layers": "num_hidden_layers",
        "hidden": "hidden_size",
        "heads": "num_attention_heads",
        "kvHeads": "num_key_value_heads",
        "headDim": "head_dim",
        "intermediate": "intermediate_size",
        "vocab": "vocab_size",
        "context": "max_position_embeddings",
    }
    return {"paramsB": 10.0} | {ours: config[theirs] for ours, theirs in keys.items()}


def _published() -> Iterator[tuple[StackSettings, str | None]]:
    """The models of `data/configs` that read text alone, as they were published and with as many GPUs as hold them; and methods that
    others publish in. Models that see pictures load a processor at start, whose files are not here."""
    for name in TEXT_ONLY:
        shape = model_shapes.models()[name]
        # In 16 bits the largest ones fit on no node; their makers publish them in FP8 too.
        precision = shape.published.precision if shape.published else "fp8" if shape.params_b > 500 else "bf16"
        gpus = next(count for count in (1, 2, 4, 8) if checkpoints.quantized_gib(shape, precision) < count * 100 or count == 8)
        values: dict[tuple[str, ...], Any] = {PRECISION: precision, ("sharding", "shardsCount"): 1}
        values |= dict.fromkeys((("shard", "resources", side, "nvidia.com/gpu") for side in ("requests", "limits")), gpus)
        yield _asked("Standard_ND96isr_H200_v5", name, values), None
    for size, method in itertools.product(("Standard_NC64as_T4_v3", "Standard_NC48ads_A100_v4"), ("awq", "gptq")):
        yield _asked(size, "llama-3-8b", {PRECISION: "int4", ("model", "quantization", "method"): method}), None
    yield _asked("Standard_NC48ads_A100_v4", "gpt-oss-20b", {PRECISION: "mxfp4"}), None


TEXT_ONLY = tuple(
    name
    for name, entry in model_shapes.configs().items()
    # Sparse attention asks for a workspace that only a worker on a GPU makes (vllm/v1/worker/workspace.py).
    if "text_config" not in entry["config"] and "index_n_heads" not in entry["config"]
)
_TABLE = tuple(name for name in model_shapes.models() if name not in model_shapes.configs())


def _stacks() -> Iterator[tuple[StackSettings, str | None]]:
    for name in TODAY:
        yield files.from_file(files.stack_file_path(name), name).require(), None
    for name in VARIATIONS:
        settings = variation(name)
        if settings.engine == "vllm":
            yield settings, None
    for size, model in itertools.product(KINDS, _TABLE):
        yield _asked(size, model, {}), None
    yield from _published()
    for size, precision, compression in itertools.product(KINDS, ("fp16", "bf16", "fp8", "int8", "int4"), (True, False)):
        yield _asked(size, "qwen3-30b-a3b", {PRECISION: precision, COMPRESSION: compression}), None
        for flash in (True, False):
            yield _asked(size, "llama-3-8b", {PRECISION: precision, COMPRESSION: compression, FLASH: flash}), None
    for size, change in itertools.product(KINDS, ({PROMPTS: False}, *ONE_BY_ONE)):
        yield _asked(size, "llama-3-8b", change), None
    for size, model, precision in itertools.product(LARGE, _LARGE_MODELS, ("fp8", "int4")):
        yield _asked(size, model, {PRECISION: precision, COMPRESSION: False}), None
        yield _asked(size, model, {PRECISION: precision, FLASH: False}), None
    for size, model in itertools.product(("Standard_NC24s_v3", "Standard_ND96isr_H200_v5"), _TABLE):
        yield _asked(size, model, {PRECISION: "int4"}), None
    for size in KINDS:
        yield _asked(size, "mistral-7b", {}), "mistral-7b-v0.1"
        for (name, kind), prompts in itertools.product(OWN_SHAPES.items() if size != "Standard_NC24s_v3" else (), (True, False)):
            yield _asked(size, name, {("model", "shape"): _shape(name) | {"attention": kind}, PRECISION: "fp16", PROMPTS: prompts}), name


def lines() -> dict[tuple[str, ...], Line]:
    """All, by their kind."""
    found: dict[tuple[str, ...], Line] = {}
    for settings, config_of in _stacks():
        try:
            one = line(settings, config_of)
        except SettingsError:
            continue  # The planner refuses it, so nothing is rendered.
        found.setdefault(one.kind, one)
    return found
