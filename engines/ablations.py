"""What single settings changed on a GPU: the ablations of `bench/gpu/measure.py`, read from the files that it wrote.

An arm is the guide's tuning with one setting changed, named `setting: value`; two arms changed nothing. There is none of zig_ai, whose
images are not public: it has no figures here, and it is predicted from vLLM's measurements (`planner/engine_facts/`).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from settings.account import Effect
from settings.files import ROOT

SOURCES = {
    "llama_cpp": "bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json",
    "vllm": "bench/results/gpu_nvidia_h100_80gb_hbm3_vllm.json",
}
REPEATS = ("as rendered", "as rendered, again")
NOISE = 0.05
"""The share of requests/s that is noise in a window of some 10 s; more where the two repeats are further apart."""
_NO_LONGER = {"--kv-unified": "all slots shared one cache, where each has its own part now"}
"""Flags of a measured command line that are no longer rendered, with what they meant."""
_MIB = 100
"""A smaller change of GPU memory is not mentioned."""


def with_measurements(engine: str, effects: Sequence[Effect], release: str = "") -> tuple[Effect, ...]:
    """Adds what was measured of a setting to one of its effects: the first that gives a reason, or else the first.

    `release` is the engine's release that the stack runs, where another one was measured.
    """
    measured = _measured(engine, release)
    chosen: dict[str, Effect] = {}
    for effect in sorted(effects, key=lambda effect: not effect.because):
        if effect.key in measured:
            chosen.setdefault(effect.key, effect)

    def with_figures(effect: Effect) -> Effect:
        because = "; ".join(filter(None, (effect.because, measured[effect.key])))
        return replace(effect, because=because, source="; ".join(filter(None, (effect.source, SOURCES[engine]))))

    return tuple(with_figures(effect) if chosen.get(effect.key) is effect else effect for effect in effects)


@cache
def _measured(engine: str, release: str) -> dict[str, str]:
    """Maps a setting's key to a sentence on what another value of it did."""
    kept = json.loads((ROOT / SOURCES[engine]).read_text())
    rows = {row["arm"]: row for row in kept["ablation"]}
    repeats = [rows.pop(name) for name in REPEATS]
    base = {name: statistics.fmean(row[name] for row in repeats) for name in ("requests_s", "latency_p95_s", "memory_mib")}
    which = f"{kept['engine']['package']}{f' in place of {release}' if release else ''}"
    load = f"{repeats[0]['concurrency']} users, windows of {repeats[0]['window_s']:g} s"
    line = kept["arms"]["guide"]["commands"][0].split()
    how = f"{which} on one {kept['machine']['gpu']}, {load}, the command line of its arm `guide` but for this"
    how += "".join(f"; {flag} there: {meant}" for flag, meant in _NO_LONGER.items() if flag in line)
    sentences: dict[str, str] = {}
    for arm, row in rows.items():
        setting, separated, value = arm.partition(": ")
        if separated:
            change = _change(row, base, noise(repeats))
            sentences[setting] = f"measured ({how}): {value}, {kept['arms'][arm]['because']}, gives {change}"
    return sentences


def noise(repeats: list[dict]) -> float:
    """The share of requests/s by which two runs of the same arm may differ: a smaller change says nothing."""
    rates = [row["requests_s"] for row in repeats]
    return max(NOISE, (max(rates) - min(rates)) / statistics.fmean(rates))


def _change(row: dict, base: dict[str, float], noise: float) -> str:
    rate, mib = row["requests_s"] / base["requests_s"] - 1, row["memory_mib"] - base["memory_mib"]
    text = f"{row['requests_s']:.1f} requests/s instead of {base['requests_s']:.1f}"
    if abs(rate) < noise:
        text += ", which is noise"
    else:
        # More in flight than there are users: the window began where it caught a wave of answers more.
        flattered = row["in_flight"] > 1.05 * row["concurrency"]
        text += f" (up to {rate:+.0%}: {row['in_flight']} of {row['concurrency']} users in flight)" if flattered else f" ({rate:+.0%})"
        # In a window shorter than an answer's time, as with one slot, too few of the users are seen to be answered.
        if row["in_flight"] > 0.9 * row["concurrency"]:
            text += f" and 95% of the answers in {row['latency_p95_s']:.2f} s instead of {base['latency_p95_s']:.2f}"
    return text + (f", with {mib:+,.0f} MiB of GPU memory" if abs(mib) > _MIB else "")
