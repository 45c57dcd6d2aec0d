"""Finds the catalogue's model that a name means. A repository's name also says what was done to the model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

_NO_MODEL = frozenset(["meta", "instruct", "chat", "it", "hf", "base", "gguf", "awq", "gptq", "fp8", "int8", "int4", "bf16", "fp16"])
"""Parts of a repository's name that do not change the model's shape."""
_SIZE = re.compile(r"(\d+x)?\d+(\.\d+)?b")


def spelt(name: str, known: Collection[str]) -> str | None:
    """Returns the known model that a name spells in another way: `Qwen/Qwen3-8B` is qwen3-8b. None for a model with a merely similar
    name."""
    parts = _parts(name, without=_NO_MODEL)
    return next((model for model in known if _parts(model) == parts), None)


def suggestion(name: str, known: Collection[str]) -> str:
    """Returns what to write instead of an unknown name. It never offers another model as if it were meant, as the plan would be wrong."""
    if same := spelt(name, known):
        return f"did you mean {same}?"
    family = [model for model in known if _parts(model)[:1] == _parts(name)[:1]]
    if family:
        near = difflib.get_close_matches(name.lower(), family, n=len(family), cutoff=0)
    else:
        near = difflib.get_close_matches(name.lower(), known)
    return f"the catalogue has {', '.join(near or known)}"


def named_in(repository: str, known: Collection[str]) -> tuple[str, ...]:
    """Returns the known models whose names a repository's name contains, part by part and in order: `NousResearch/Hermes-3-Llama-3.1-8B`.

    The result is empty for distilled models, whose names begin with the model they learned from (`DeepSeek-R1-Distill-Llama-8B`).
    """
    parts = _parts(repository)
    return () if "distill" in parts else tuple(model for model in known if _in_order(_parts(model), parts))


def sizes(name: str) -> frozenset[str]:
    """Returns the numbers of parameters that a name states: 8b, 8x7b, or 30b for Qwen3-30B-A3B."""
    return frozenset(part for part in re.split(r"[-_/]", name.lower()) if _SIZE.fullmatch(part))


def _parts(name: str, without: Collection[str] = ()) -> tuple[str, ...]:
    """Splits the name in `org/Name` into words and numbers: Qwen2.5-14B becomes qwen, 2.5, 14b."""
    words = re.split(r"[-_]", name.lower().rsplit("/", 1)[-1])
    return tuple(part for word in words if word not in without for part in re.split(r"(?<=[a-z])(?=\d)", word))


def _in_order(few: tuple[str, ...], many: tuple[str, ...]) -> bool:
    rest = iter(many)
    return all(part in rest for part in few)
