"""Creates GGUF files with the shape of a catalogue model and random weights. They serve as fast as real ones, without a download.

The vocabulary is as large as the model's own, because the sampler goes through all of it for each token. Its words mean nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np

from planner.catalogue.model_shapes import ModelShape

SPREAD = 0.02
"""The standard deviation of the weights, as in the initialisation of models."""
RESIDUAL_SPREAD = SPREAD / 8
"""The standard deviation of what is added to the residual stream, which must stay within FP16's range over all layers."""
BLOCK = 1 << 22
"""The number of weights that a random stream generates at a time."""


def write(shape: ModelShape, file: Path) -> None:
    """Writes an F16 file with one thread per CPU and the same bytes at each run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(file, "llama", use_temp_file=False)
    _describe(writer, shape)
    tensors = list(_tensors(shape))
    for name, size, spread in tensors:
        kind = np.dtype(np.float32 if spread is None else np.float16)
        writer.add_tensor_info(name, size, kind, int(np.prod(size)) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = deque(pool.submit(_values, size, spread, seed) for seed, (_, size, spread) in enumerate(tensors))
        while waiting:
            writer.write_tensor_data(waiting.popleft().result())
    writer.close()


def quantize(programs: Path, source: Path, file: Path, kind: str) -> None:
    """Quantises a file to `kind`, a type of llama-quantize such as Q8_0."""
    command = [programs / "llama-quantize", source, file, kind, str(os.cpu_count() or 1)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"llama-quantize {kind}: exit status {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")


def _values(size: tuple[int, ...], spread: float | None, seed: int) -> np.ndarray:
    if spread is None:
        return np.ones(size, np.float32)
    made, random = np.empty(int(np.prod(size)), np.float16), np.random.default_rng(seed)
    for start in range(0, made.size, BLOCK):
        part = made[start : start + BLOCK]
        part[:] = random.standard_normal(part.size, np.float32) * np.float32(spread)
    return made.reshape(size)


def _tensors(shape: ModelShape) -> Iterator[tuple[str, tuple[int, ...], float | None]]:
    """Yields the name, shape and standard deviation of each tensor; None stands for the ones of a norm."""
    hidden, wide = shape.hidden, shape.intermediate
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "token_embd.weight", (shape.vocab, hidden), SPREAD
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (hidden,), None
        yield block + "attn_q.weight", (queries, hidden), SPREAD
        yield block + "attn_k.weight", (keys, hidden), SPREAD
        yield block + "attn_v.weight", (keys, hidden), SPREAD
        yield block + "attn_output.weight", (hidden, queries), RESIDUAL_SPREAD
        yield block + "ffn_norm.weight", (hidden,), None
        yield block + "ffn_gate.weight", (wide, hidden), SPREAD
        yield block + "ffn_up.weight", (wide, hidden), SPREAD
        yield block + "ffn_down.weight", (hidden, wide), RESIDUAL_SPREAD
    yield "output_norm.weight", (hidden,), None
    yield "output.weight", (shape.vocab, hidden), SPREAD


def _describe(writer: gguf.GGUFWriter, shape: ModelShape) -> None:
    writer.add_name("random weights")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    # Every byte, then words of about four letters, as English text has; the last token ends a text.
    words = [*_bytes(), *(f"w{index:x}" for index in range(256, shape.vocab - 1)), "<|end_of_text|>"]
    kinds = [gguf.TokenType.NORMAL] * (shape.vocab - 1) + [gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges(["w 0"])
    writer.add_bos_token_id(shape.vocab - 1)
    writer.add_eos_token_id(shape.vocab - 1)
    writer.add_add_bos_token(False)


def _bytes() -> list[str]:
    """Returns GPT-2's letters for the 256 bytes: printable ones as they are, and others from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(letter) for letter in (*printable, *range(256, 512 - len(printable)))]
