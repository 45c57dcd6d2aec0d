"""Creates checkpoints with the shape of a catalogue model and random weights, in llm-compressor's format. They serve as fast as real ones.

`checkpoint.py FOLDER PRECISION`, run with a Python that has PyTorch, completes a folder that `describe` has prepared. vLLM's own
`--load-format dummy` cannot be used: its values are too small for FP8, and zeros take less time and power.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from planner.catalogue.model_shapes import ModelShape

DONE = "complete"
"""A file that exists once all others are complete."""
SPREAD = 0.02
"""The standard deviation of the weights, as in the initialisation of models."""
RESIDUAL = 1 / 8
"""The share of it for what is added to the residual stream, which must stay within FP16's range over all layers."""
GROUP = 128
"""The number of weights that share a scale, in 4 bits."""
CHAT_TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
"""The chat template, without which vLLM refuses chats."""
_WIDEST = 4.5
"""The value of the largest 8-bit number, in standard deviations."""


def _quantization(bits: int, kind: str, format: str) -> dict[str, Any]:
    """Returns the quantisation: weights with a scale per channel, and activations with one per token that is chosen at run time.

    In 4 bits only the weights are quantised, with a scale per group."""
    whole = {"num_bits": bits, "type": kind, "symmetric": True, "dynamic": False}
    weights = whole | ({"strategy": "group", "group_size": GROUP} if bits == 4 else {"strategy": "channel"})
    activations = None if bits == 4 else whole | {"strategy": "token", "dynamic": True}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": None}
    return {
        "quant_method": "compressed-tensors", "format": format, "quantization_status": "compressed", "ignore": ["lm_head"],
        "kv_cache_scheme": None, "config_groups": {"group_0": group},
    }  # fmt: skip


QUANTIZATION = {
    "F16": None,
    "FP8": _quantization(8, "float", "float-quantized"),
    "INT8": _quantization(8, "int", "int-quantized"),
    "INT4": _quantization(4, "int", "pack-quantized"),
}


def describe(folder: Path, shape: ModelShape, precision: str) -> None:
    """Writes config.json and a tokenizer whose words mean nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "bfloat16",
        "hidden_size": shape.hidden, "intermediate_size": shape.intermediate, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "vocab_size": shape.vocab, "max_position_embeddings": shape.context, "rope_theta": 500_000.0, "rms_norm_eps": 1e-5,
        "bos_token_id": shape.vocab - 1, "eos_token_id": shape.vocab - 1, "tie_word_embeddings": False,
    }  # fmt: skip
    if QUANTIZATION[precision]:
        config["quantization_config"] = QUANTIZATION[precision]
    # Every byte, then words of about four letters, as English text has; the last token ends a text.
    words = [*letters(), *(f"w{index:x}" for index in range(256, shape.vocab - 1)), "<|end_of_text|>"]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
        "added_tokens": [{"id": shape.vocab - 1, "content": words[-1], "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {word: index for index, word in enumerate(words)}, "merges": []},
    }  # fmt: skip
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": words[-1], "model_max_length": shape.context,
             "chat_template": CHAT_TEMPLATE}  # fmt: skip
    for name, content in (("config.json", config), ("tokenizer.json", tokenizer), ("tokenizer_config.json", about)):
        (folder / name).write_text(json.dumps(content))


def letters() -> list[str]:
    """Returns GPT-2's letters for the 256 bytes: printable ones as they are, and others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(letter) for letter in (*printable, *range(256, 512 - len(printable)))]


def fill(folder: Path, precision: str) -> None:
    """Writes a file per layer and one for the rest, with the same numbers at each run on one kind of device."""
    import torch
    from safetensors.torch import save_file

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    config = json.loads((folder / "config.json").read_text())

    def save(name: str, tensors: dict[str, torch.Tensor]) -> None:
        save_file(tensors, folder / f"{name}.safetensors", metadata={"format": "pt"})

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = []
        for name, sizes in files(config):
            tensors: dict[str, torch.Tensor] = {}
            for tensor, size in sizes.items():
                tensors |= _tensors(tensor, size, precision, device)
            waiting.append(pool.submit(save, name, tensors))
        for future in waiting:
            future.result()
    (folder / DONE).touch()


def files(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, tuple[int, ...]]]]:
    """Returns the names of the tensors with their rows and columns, by file."""
    hidden, wide, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    queries, keys = (config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    yield "rest", {"model.embed_tokens": (vocabulary, hidden), "model.norm": (hidden,), "lm_head": (vocabulary, hidden)}
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}."
        yield (
            f"layer-{number:03d}",
            {
                f"{layer}input_layernorm": (hidden,),
                f"{layer}self_attn.q_proj": (queries, hidden),
                f"{layer}self_attn.k_proj": (keys, hidden),
                f"{layer}self_attn.v_proj": (keys, hidden),
                f"{layer}self_attn.o_proj": (hidden, queries),
                f"{layer}post_attention_layernorm": (hidden,),
                f"{layer}mlp.gate_proj": (wide, hidden),
                f"{layer}mlp.up_proj": (wide, hidden),
                f"{layer}mlp.down_proj": (hidden, wide),
            },
        )


def _tensors(name: str, size: tuple[int, ...], precision: str, device: str) -> dict[str, torch.Tensor]:
    """Returns what a file contains of one layer's weights."""
    import torch

    if len(size) == 1:
        return {f"{name}.weight": torch.ones(size, dtype=torch.float16)}
    spread = SPREAD * (RESIDUAL if name.endswith(("o_proj", "down_proj")) else 1)
    if precision == "F16" or "layers" not in name:
        values = torch.randn(size, device=device, dtype=torch.float16) * spread
        return {f"{name}.weight": values.cpu()}
    rows, columns = size
    if precision == "INT4":
        # Eight numbers of -8 to 7 in each word, all as likely: their standard deviation is that of 16 steps.
        packed = torch.randint(-(1 << 31), 1 << 31, (rows, columns // 8), device=device, dtype=torch.int64).to(torch.int32)
        scale = torch.full((rows, columns // GROUP), spread / math.sqrt((16**2 - 1) / 12), dtype=torch.float16)
        return {f"{name}.weight_packed": packed.cpu(), f"{name}.weight_scale": scale, f"{name}.weight_shape": torch.tensor(size)}
    kind, most = (torch.float8_e4m3fn, 448.0) if precision == "FP8" else (torch.int8, 127.0)
    values = (torch.randn(size, device=device, dtype=torch.float16) * (most / _WIDEST)).clamp(-most, most)
    whole = values if precision == "FP8" else values.round()
    return {f"{name}.weight": whole.to(kind).cpu(), f"{name}.weight_scale": torch.full((rows, 1), spread * _WIDEST / most)}


if __name__ == "__main__":
    fill(Path(sys.argv[1]), sys.argv[2])
