"""The precision of a checkpoint as its `config.json` (or ModelOpt's `hf_quant_config.json`) states it, with the bytes of its scales."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import cache

from planner.catalogue.config_modules import Config, Module
from planner.catalogue.shape import Published

Stated = tuple[str, str, float]
"""The precision as `model.quantization.precision` names it, the method as vLLM's `--quantization` names it, and the bytes of a weight."""


def published(modules: Iterable[Module], quantization: Config | None) -> Published | None:
    """Returns how the weights are stored; None for 16 bits. Raises ValueError for a method that is not known."""
    if not quantization:
        return None
    precision, method, size = _stated(quantization)
    kept = _keeps(quantization, method)
    quantized = sum(module.params for module in modules if not kept(module))
    return Published(precision=precision, method=method, bytes_per_weight=size, quantized_b=quantized / 1e9)


def _stated(quantization: Config) -> Stated:
    # ModelOpt's own file has its figures one level below.
    inner = quantization.get("quantization") or quantization
    method = quantization.get("quant_method") or ("modelopt" if inner.get("quant_algo") else "")
    readers: dict[str, Callable[[Config], Stated]] = {
        "fp8": _fp8,
        # OCP microscaling formats 1.0: 32 values share an 8-bit scale.
        "mxfp4": lambda _: ("mxfp4", "mxfp4", 0.5 + 1 / 32),
        "awq": _grouped,
        "gptq": _grouped,
        "compressed-tensors": _compressed_tensors,
        "modelopt": _modelopt,
        "modelopt_fp4": _modelopt,
    }
    if method not in readers:
        raise ValueError(f"the quantisation method {method or 'without a name'!r}")
    return readers[method](inner)


def _fp8(config: Config) -> Stated:
    """One 32-bit scale for a block of values, or for a whole matrix."""
    block = config.get("weight_block_size")
    return "fp8", "fp8", 1 + (4 / (block[0] * block[1]) if block else 0)


def _grouped(config: Config) -> Stated:
    """AWQ and GPTQ: each group has a 16-bit scale and a zero point of the weights' own bits."""
    bits, group, method = config.get("bits", 4), config.get("group_size", 128), config["quant_method"]
    if (method, bits) not in (("awq", 4), ("gptq", 4), ("gptq", 8)):
        raise ValueError(f"{method} with {bits} bits")
    return f"int{bits}", method, bits / 8 + ((16 + bits) / 8 / group if group > 0 else 0)


def _compressed_tensors(config: Config) -> Stated:
    weights = [group["weights"] for group in (config.get("config_groups") or {}).values()]
    if not weights or any(other != weights[0] for other in weights):
        raise ValueError("compressed-tensors with several precisions")
    stated = weights[0]
    bits, kind, group = stated["num_bits"], stated["type"], stated.get("group_size") or 0
    if kind == "float" and bits == 4:
        return ("mxfp4", "compressed-tensors", 0.5 + 1 / 32) if group == 32 else ("nvfp4", "compressed-tensors", 0.5 + 1 / 16)
    if (kind, bits) not in (("float", 8), ("int", 8), ("int", 4)):
        raise ValueError(f"compressed-tensors with {bits}-bit {kind}")
    name = "fp8" if kind == "float" else f"int{bits}"
    block = stated.get("block_structure")
    scales = 4 / (block[0] * block[1]) if isinstance(block, list) else 2 / group if group > 0 else 0
    return name, "compressed-tensors", bits / 8 + scales


def _modelopt(config: Config) -> Stated:
    known = {"FP8": ("fp8", "modelopt", 1.0), "NVFP4": ("nvfp4", "modelopt_fp4", 0.5 + 1 / 16)}
    algorithm = config.get("quant_algo")
    if algorithm not in known:
        raise ValueError(f"ModelOpt's {algorithm}")
    return known[algorithm]


def _keeps(quantization: Config, method: str) -> Callable[[Module], bool]:
    """Returns which matrices stay in 16 bits: embedding, head and router always, and those that the file names."""
    inner = quantization.get("quantization") or quantization
    patterns = [name for key in ("modules_to_not_convert", "ignore", "exclude_modules") for name in inner.get(key) or ()]
    whole = frozenset(_from_layers(name) for name in patterns if not _is_pattern(name))
    matched = tuple(_compiled(name) for name in patterns if _is_pattern(name))

    def kept(module: Module) -> bool:
        name = module.name
        if module.layer is None or name.endswith((".gate", ".router", ".conv1d")) or (method == "mxfp4" and not module.routed):
            return True
        parts = name.split(".")
        prefixes = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
        inner_parts = (".".join(parts[start:end]) for start in range(2, len(parts)) for end in range(start + 1, len(parts) + 1))
        named = any(prefix in whole for prefix in prefixes) or any(part in whole for part in inner_parts)
        return named or any(pattern.match(name) or pattern.match(f"model.{name}") for pattern in matched)

    return kept


def _is_pattern(name: str) -> bool:
    return name.startswith("re:") or "*" in name


def _from_layers(name: str) -> str:
    """Wrappers put different prefixes before the same layers."""
    return name[name.index("layers.") :] if "layers." in name else name


@cache
def _compiled(name: str) -> re.Pattern[str]:
    if name.startswith("re:"):
        return re.compile(name.removeprefix("re:"))
    glob = _from_layers(name)
    return re.compile(f"{translate(glob)}|{translate(glob + '.*')}")
