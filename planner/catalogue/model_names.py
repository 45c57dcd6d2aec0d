"""Which of the catalogue's models a name means: one typed by hand, or a repository's, which also names what was done to the model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

_NO_MODEL = frozenset(["meta", "instruct", "chat", "it", "hf", "base", "gguf", "awq", "gptq", "fp8", "int8", "int4", "bf16", "fp16"])
"""Parts of a repository's name that do not say which model it is, as far as its shape goes."""
_SIZE = re.compile(r"(\d+x)?\d+(\.\d+)?b")


def spelt(name: str, known: Collection[str]) -> str | None:
    """The known model that a name spells in another way: `Qwen/Qwen3-8B` is qwen3-8b. None for a model that is only named alike."""
    parts = _parts(name, without=_NO_MODEL)
    return next((model for model in known if _parts(model) == parts), None)


def suggestion(name: str, known: Collection[str]) -> str:
    """What to write instead of an unknown name. Another model is never offered as if it were meant: its plan would be another's."""
    if same := spelt(name, known):
        return f"did you mean {same}?"
    kin = [model for model in known if _parts(model)[:1] == _parts(name)[:1]]
    near = difflib.get_close_matches(name.lower(), kin, n=len(kin), cutoff=0) if kin else difflib.get_close_matches(name.lower(), known)
    return f"the catalogue has {', '.join(near or known)}"


def named_in(repository: str, known: Collection[str]) -> tuple[str, ...]:
    """The known models whose names a repository's name holds, part by part and in order: `NousResearch/Hermes-3-Llama-3.1-8B`.

    None for distilled models, whose names say what they learned from before what they are (`DeepSeek-R1-Distill-Llama-8B`).
    """
    parts = _parts(repository)
    return () if "distill" in parts else tuple(model for model in known if _in_order(_parts(model), parts))


def sizes(name: str) -> frozenset[str]:
    """The numbers of parameters that a name states: 8b, 8x7b, or 30b of Qwen3-30B-A3B."""
    return frozenset(part for part in re.split(r"[-_/]", name.lower()) if _SIZE.fullmatch(part))


def _parts(name: str, without: Collection[str] = ()) -> tuple[str, ...]:
    """Of `org/Name`, the name's words and numbers: Qwen2.5-14B is qwen, 2.5, 14b."""
    words = re.split(r"[-_]", name.lower().rsplit("/", 1)[-1])
    return tuple(part for word in words if word not in without for part in re.split(r"(?<=[a-z])(?=\d)", word))


def _in_order(few: tuple[str, ...], many: tuple[str, ...]) -> bool:
    rest = iter(many)
    return all(part in rest for part in few)
