"""The smallest model that llama-server loads: one layer with weights of zero, in the GGUF format.

A context of a hundred thousand tokens takes 7 MB of it, so that a server starts with whatever a pod of a large model is given.
Format: ggml-org/ggml docs/gguf.md; names: ggml-org/llama.cpp gguf-py/gguf/constants.py.
"""

from __future__ import annotations

import struct
from pathlib import Path

_U32, _F32, _STRING, _ARRAY, _I32 = 4, 6, 8, 9, 5
_EMBEDDING, _FEED_FORWARD, _HEAD = 64, 64, 32
"""A head has a whole block of the 8-bit cache."""
_TOKENS = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)))
_UNKNOWN, _CONTROL, _BYTE = 2, 3, 6
_ALIGNMENT = 32


def write(path: Path) -> Path:
    tensors = {name: (shape, bytes(4 * shape[0] * (shape[1] if len(shape) > 1 else 1))) for name, shape in _shapes().items()}
    described, offset = b"", 0
    for name, (shape, data) in tensors.items():
        sizes = b"".join(struct.pack("<Q", size) for size in shape)
        described += _text(name) + struct.pack("<I", len(shape)) + sizes + struct.pack("<IQ", 0, offset)
        offset += -(-len(data) // _ALIGNMENT) * _ALIGNMENT
    values = _values()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(map(_pair, values.items())) + described
    with path.open("wb") as file:
        file.write(head.ljust(-(-len(head) // _ALIGNMENT) * _ALIGNMENT, b"\0"))
        for _, data in tensors.values():
            file.write(data.ljust(-(-len(data) // _ALIGNMENT) * _ALIGNMENT, b"\0"))
    return path


def _shapes() -> dict[str, tuple[int, ...]]:
    square = (_EMBEDDING, _EMBEDDING)
    layer = {"attn_norm": (_EMBEDDING,), "attn_q": square, "attn_k": (_EMBEDDING, _HEAD), "attn_v": (_EMBEDDING, _HEAD)}
    layer |= {"attn_output": square, "ffn_norm": (_EMBEDDING,), "ffn_gate": (_EMBEDDING, _FEED_FORWARD)}
    layer |= {"ffn_up": (_EMBEDDING, _FEED_FORWARD), "ffn_down": (_FEED_FORWARD, _EMBEDDING)}
    rest = {"token_embd": (_EMBEDDING, len(_TOKENS)), "output_norm": (_EMBEDDING,)}
    return {f"{name}.weight": shape for name, shape in (rest | {f"blk.0.{name}": shape for name, shape in layer.items()}).items()}


def _values() -> dict[str, tuple[int, object]]:
    types = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256]
    return {
        "general.architecture": (_STRING, "llama"),
        "llama.context_length": (_U32, 131072),
        "llama.embedding_length": (_U32, _EMBEDDING),
        "llama.block_count": (_U32, 1),
        "llama.feed_forward_length": (_U32, _FEED_FORWARD),
        "llama.attention.head_count": (_U32, _EMBEDDING // _HEAD),
        "llama.attention.head_count_kv": (_U32, 1),
        "llama.attention.layer_norm_rms_epsilon": (_F32, 1e-5),
        "tokenizer.ggml.model": (_STRING, "llama"),
        "tokenizer.ggml.tokens": (_STRING, list(_TOKENS)),
        "tokenizer.ggml.scores": (_F32, [0.0] * len(_TOKENS)),
        "tokenizer.ggml.token_type": (_I32, types),
    }


def _pair(pair: tuple[str, tuple[int, object]]) -> bytes:
    name, (kind, value) = pair
    if isinstance(value, list):
        return _text(name) + struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(_value(kind, one) for one in value)
    return _text(name) + struct.pack("<I", kind) + _value(kind, value)


def _value(kind: int, value: object) -> bytes:
    return _text(str(value)) if kind == _STRING else struct.pack({_U32: "<I", _F32: "<f", _I32: "<i"}[kind], value)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
