"""GPU cards as the performance model sees them: those of the catalogue, and those that a measured row names in its own words."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache

from planner.catalogue import hardware
from planner.performance.csv_rows import Impossible
from planner.performance.questions import GpuFigures

_GIB, _GIGA, _TERA = 2.0**30, 1e9, 1e12
_PCIE_GB_S = {"V100": 16.0, "A100": 32.0, "H100": 64.0}
_FASTEST_PCIE_GB_S = 64.0

_WHOLE_NAMES = {"RTX": "RTX PRO 6000"}
"""The part of a GPU's name that identifies the family, where the family's own name also belongs to many others."""


def family_of(name: str) -> str | None:
    """Returns the family in a GPU's name, however it is spelt: `H100-SXM-80GB`, `NVIDIA H200`, `8xA100`, `Tesla V100-SXM2`."""
    spelt = re.sub(r"[^A-Z0-9]+", " ", name.upper())
    for family in hardware.cards():
        if re.search(rf"(?<![A-Z0-9])(?:\d+X)?{_WHOLE_NAMES.get(family, family)}(?=\s|SXM|PCI|NVL|X\d|$)", spelt):
            return family
    return None


def _of_size(cards: list[hardware.Card], name: str, memory_gb: str) -> list[hardware.Card]:
    """The cards whose memory is closest to the stated one. Sources use GB and GiB, and whole and usable sizes."""
    stated = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:GI?B)?", memory_gb.upper())
    if memory_gb and not stated:
        raise Impossible(f"gpu_memory_gb {memory_gb!r}: a number of GB")
    stated = stated or re.search(r"(\d+)\s*GI?B", name.upper())
    if stated is None:
        return cards
    asked = max(float(stated[1]), 1.0)

    def apart(card: hardware.Card) -> float:
        return abs(math.log(card.memory_gb / asked))

    nearest = min(map(apart, cards))
    if nearest > math.log(2):
        sizes = ", ".join(str(size) for size in sorted({card.memory_gb for card in cards}))
        raise Impossible(f"no {cards[0].family} has {asked:g} GB; known: {sizes}")
    return [card for card in cards if apart(card) == nearest]


@cache
def gpu_named(name: str, memory_gb: str = "", link: str = "") -> GpuFigures:
    """Returns the GPU that a row names, as loosely as sources do: `H100`, `A100-SXM4-80GB`. Raises Impossible for an unknown one."""
    family = family_of(name)
    if family is None:
        raise Impossible(f"unknown GPU {name!r}; known: {', '.join(_WHOLE_NAMES.get(name, name) for name in hardware.cards())}")
    form = "PCIe" if "PCI" in name.upper() else "NVL" if "NVL" in name.upper() else ""
    cards = _of_size(hardware.cards()[family], name, memory_gb)
    chosen = ([card for card in cards if card.form == form] or [card for card in cards if not card.form] or cards)[-1]
    figures = gpu_of(chosen)
    slowest = min(figures.link, _PCIE_GB_S.get(family, math.inf) * _GIGA) if link.upper().startswith("PCI") else figures.link
    return replace(figures, link=slowest, link_kind=_link_kind(slowest, link))


@cache
def gpu_of(card: hardware.Card) -> GpuFigures:
    """Returns the figures of a card of the catalogue. Its 16-bit peak is that of bf16 where none is stated for fp16."""
    tflops = {"fp16": card.dense_tflops.get("bf16", 0.0)} | card.dense_tflops
    return GpuFigures(
        family=card.family,
        chip=card.chip,
        memory_bytes=card.memory_gib * _GIB,
        bandwidth=card.bandwidth_gb_s * _GIGA,
        peaks={precision: tflops[precision] * _TERA for precision in ("fp16", "int8", "fp8", "fp4") if tflops.get(precision)},
        link=card.link_gb_s * _GIGA,
        link_kind=_link_kind(card.link_gb_s * _GIGA, ""),
    )


def _link_kind(bytes_per_s: float, stated: str) -> str:
    return "PCIe" if bytes_per_s <= _FASTEST_PCIE_GB_S * _GIGA else "IB" if "IB" in stated else "NVLink"
