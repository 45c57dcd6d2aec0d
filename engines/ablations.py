"""What single settings changed on a GPU: the ablations of `bench/gpu/measure.py`, read from the files that it wrote.

An arm is the guide's tuning with one setting changed, named `setting: value`; two arms changed nothing. There is none of zig_ai, whose
images are not public: nothing is told of it here, and it is predicted from vLLM's measurements (`planner/engine_facts/`).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

from engines.workload import Told
from settings.files import ROOT

SOURCES = {
    "llama_cpp": "bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json",
    "vllm": "bench/results/gpu_nvidia_h100_80gb_hbm3_vllm.json",
}
REPEATS = ("as rendered", "as rendered, again")
NOISE = 0.05
"""Of requests/s in a window of some 10 s, at least; more where the two repeats are further apart."""
_NO_LONGER = {"--kv-unified": "all slots shared one cache, where each has its own part now"}
"""Flags of a line that was measured and is rendered no more, and what they meant."""
_MIB = 100
"""Less is not worth a word."""


def added(engine: str, told: Iterable[Told], release: str = "") -> Iterator[Told]:
    """Each with what was measured of its setting, if anything was; `release`: of the engine, where another one was measured."""
    found = _measured(engine, release)
    for said in told:
        if said.key in found:
            because, source = ("; ".join(filter(None, both)) for both in ((said.because, found[said.key]), (said.source, SOURCES[engine])))
            said = replace(said, because=because, source=source)
        yield said


@cache
def _measured(engine: str, release: str) -> dict[str, str]:
    """Setting -> what another value of it did."""
    kept = json.loads((ROOT / SOURCES[engine]).read_text())
    rows = {row["arm"]: row for row in kept["ablation"]}
    repeats = [rows.pop(name) for name in REPEATS]
    base = {name: statistics.fmean(row[name] for row in repeats) for name in ("requests_s", "latency_p95_s", "memory_mib")}
    which = f"{kept['engine']['package']}{f' in place of {release}' if release else ''}"
    load = f"{repeats[0]['concurrency']} users, windows of {repeats[0]['window_s']:g} s"
    line = kept["arms"]["guide"]["commands"][0].split()
    how = f"{which} on one {kept['machine']['gpu']}, {load}, the command line of its arm `guide` but for this"
    how += "".join(f"; {flag} there: {meant}" for flag, meant in _NO_LONGER.items() if flag in line)
    found: dict[str, str] = {}
    for arm, row in rows.items():
        setting, separated, value = arm.partition(": ")
        if separated:
            change = _change(row, base, noise(repeats))
            found[setting] = f"measured ({how}): {value}, {kept['arms'][arm]['because']}, gives {change}"
    return found


def noise(repeats: list[dict]) -> float:
    """Of requests/s, as a share: what is less says nothing."""
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
