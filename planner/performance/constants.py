"""The constants of the model: where the fit starts for each, and how far it may differ between machines and engines.

The value of a constant for one question is its start (as a logarithm, unless it is a correction's slope) plus one fitted difference for
each level to which the question belongs: all, the GPU's chip and family, the engine, its generation and era, the precision, the shape, and
pairs of those. A level that the fit has not seen adds nothing. The spreads here are the standard deviations of those differences, as the
ridge of the fit uses them; they come from a search in which whole groups were left out (docs/performance-model.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

_HARDWARE = {
    "all": 0.5, "chip": 0.15, "family": 0.1, "precision": 0.1, "chip,precision": 0.1, "engine": 0.1, "generation": 0.1, "era": 0.05,
    "architecture": 0.05, "shape": 0.1, "family,engine": 0.05, "engine,precision": 0.05, "variety": 0.1, "shape,engine": 0.05,
}  # fmt: skip
_SOFTWARE = {"all": 1.0, "engine": 0.5, "generation": 0.4, "era": 0.2, "chip": 0.2, "family": 0.1, "family,engine": 0.1, "variety": 0.1}
_EXPERTS = {
    "all": 0.5, "engine": 0.2, "generation": 0.2, "architecture": 0.1, "shape": 0.2, "chip": 0.1, "parallel": 0.2, "shape,engine": 0.1,
    "precision": 0.2, "chip,precision": 0.1,
}  # fmt: skip
_QUEUE = {"all": 0.5, "client": 0.5, "client,engine": 0.4, "engine": 0.2, "generation": 0.2, "era": 2.0}
_LINK = {"all": 0.5, "link": 0.7, "engine": 0.3, "generation": 0.2, "chip": 0.2, "family": 0.2, "era": 0.1}
_OFFSET = {
    "all": 0.2, "engine": 0.15, "generation": 0.1, "era": 0.08, "chip": 0.05, "family": 0.05, "family,engine": 0.05, "precision": 0.05,
    "architecture": 0.05, "shape": 0.08, "shape,engine": 0.05, "architecture,engine": 0.03, "engine,precision": 0.05, "variety": 0.05,
    "engine,variety": 0.05, "parallel": 0.1, "family,era": 0.05, "chip,precision": 0.05, "family,precision": 0.05,
    "client": 0.5, "client,engine": 0.3,
}  # fmt: skip
_SLOPE = {"client": 0.1, "all": 0.1, "engine": 0.08, "generation": 0.08, "era": 0.05, "chip": 0.03, "variety": 0.05, "shape": 0.03}
_MEMORY = {"all": 0.02, "engine": 0.03, "generation": 0.02}

_LEVEL_SCALE = {
    "all": -0.9, "chip": -1.44, "family": -1.44, "chip,precision": -1.44, "family,precision": -1.44, "link": -1.44, "engine": -0.324,
    "generation": -0.324, "era": -0.324, "shape": -0.9, "architecture": -0.9, "variety": -0.9, "precision": 0.6, "engine,precision": 0.6,
    "parallel": 0.6,
}  # fmt: skip
_PAIR_SCALE = -1.216


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The start of one constant, the spreads of its levels, and the logarithm of a scale on these spreads."""

    start: float
    levels: dict[str, float]
    scale: float
    logarithmic: bool = True

    def spreads(self) -> dict[str, float]:
        """Returns the standard deviation of the differences at each level."""
        return {
            level: spread * math.exp((self.scale if level != "all" else 0.0) + _LEVEL_SCALE.get(level, _PAIR_SCALE))
            for level, spread in self.levels.items()
        }


def _quantity(name: str) -> dict[str, Constant]:
    slopes = ("load", "input", "output", "gpus", "size")
    return {f"{name}_offset": Constant(start=0, levels=_OFFSET, scale=-1.976, logarithmic=False)} | {
        f"{name}_{slope}": Constant(start=0, levels=_SLOPE, scale=-1.0, logarithmic=False) for slope in slopes
    }


CONSTANTS: dict[str, Constant] = {
    "weights_bandwidth": Constant(start=0.8, levels=_HARDWARE, scale=-1.5),
    "experts_bandwidth": Constant(start=0.7, levels=_HARDWARE, scale=-2.0),
    "kv_bandwidth": Constant(start=0.65, levels=_HARDWARE, scale=-1.5),
    "decode_mfu": Constant(start=0.65, levels=_HARDWARE, scale=-0.64),
    "prefill_mfu": Constant(start=0.6, levels=_HARDWARE, scale=-0.64),
    "attention_mfu": Constant(start=0.4, levels=_HARDWARE, scale=-0.64),
    "decode_half_tokens": Constant(start=60, levels={"all": 0.3}, scale=-1.0),
    "prefill_half_tokens": Constant(start=150, levels={"all": 0.3}, scale=-1.0),
    "expert_mfu": Constant(start=0.6, levels=_EXPERTS, scale=-1.5),
    "expert_skew": Constant(start=0.7, levels=_EXPERTS, scale=-1.5),
    "expert_layer": Constant(start=1.5, levels=_EXPERTS, scale=-1.5),
    "latent_layer": Constant(start=0.7, levels=_EXPERTS, scale=-1.5),
    "expert_s": Constant(start=2e-7, levels=_EXPERTS, scale=-1.5),
    "step_s": Constant(start=1e-3, levels=_SOFTWARE, scale=-1.0),
    "layer_s": Constant(start=1e-5, levels=_SOFTWARE, scale=-1.0),
    "sequence_s": Constant(start=1e-5, levels=_SOFTWARE, scale=-1.0),
    "link_latency_s": Constant(start=1e-5, levels=_LINK, scale=-0.1),
    "link_efficiency": Constant(start=0.5, levels=_LINK, scale=-0.1),
    "interference": Constant(start=0.8, levels=_SOFTWARE | {"client": 0.4, "client,engine": 0.4}, scale=-1.9),
    "first_token_s": Constant(start=0.01, levels=_SOFTWARE, scale=-1.9),
    "together": Constant(start=1.0, levels=_QUEUE, scale=-1.0),
    "queue": Constant(start=0.5, levels=_QUEUE, scale=-1.9),
    "queue_growth": Constant(start=0.8, levels={"all": 0.2, "engine": 0.1, "client": 0.1}, scale=-1.9),
    "step_wait": Constant(start=0.7, levels=_SOFTWARE, scale=-1.9),
    "admission": Constant(start=0.9, levels={"all": 0.3, "engine": 0.2}, scale=-1.0),
    "usable_memory": Constant(start=0.92, levels=_MEMORY, scale=-1.0),
    "reserve_bytes": Constant(start=2e9, levels={"all": 0.2, "engine": 0.2, "generation": 0.2}, scale=-1.0),
    "most_sequences": Constant(start=700, levels={"all": 0.5, "generation": 0.5, "era": 0.4}, scale=-1.0),
    "prefill_share": Constant(start=0.9, levels={"all": 0.2, "generation": 0.2, "era": 0.1}, scale=-1.0),
}
for _name in ("static_tpot", "served_tpot", "single_ttft", "served_ttft", "static_rate", "saturated_rate", "served_rate"):
    CONSTANTS |= _quantity(_name)

_STARTS = {name: math.log(constant.start) if constant.logarithmic else constant.start for name, constant in CONSTANTS.items()}
_LOGARITHMIC = tuple(name for name, constant in CONSTANTS.items() if constant.logarithmic)


def resolve(keys: dict[str, str], fitted: dict[str, dict[str, dict[str, float]]]) -> SimpleNamespace:
    """Returns the constants of a question from its key at each level and the fitted differences by level, key and constant."""
    values = dict(_STARTS)
    for level, key in keys.items():
        for name, difference in fitted.get(level, {}).get(key, {}).items():
            values[name] += difference
    for name in _LOGARITHMIC:
        values[name] = math.exp(values[name])
    return SimpleNamespace(**values)


Shifts = dict[str, dict[str, float]]
"""What is added to constants (to their logarithms, except for a correction's slopes), by quantity (ttft, tpot, rate) and constant."""


def shifted(constants: SimpleNamespace, shift: dict[str, float]) -> SimpleNamespace:
    """Returns the constants with some of them moved."""
    values = dict(vars(constants))
    for name, by in shift.items():
        values[name] = values[name] * math.exp(by) if CONSTANTS[name].logarithmic else values[name] + by
    return SimpleNamespace(**values)
