"""What single settings changed on a GPU: the ablation of `bench/gpu/measure.py`, read from the file that it wrote.

An arm is the guide's tuning with one setting changed, named `setting: value`; two arms changed nothing.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from functools import cache

from engines.workload import Told
from settings.files import ROOT

SOURCE = "bench/results/gpu_nvidia_h100_80gb_hbm3.json"
STACK = "bench/gpu/Pulumi.h100.yaml"
REPEATS = ("as rendered", "as rendered, again")
NOISE = 0.05
"""Of requests/s in a window of 10 s: the two repeats are 4.4 % apart."""
_MIB = 100
"""Less is not worth a word."""


def added(said: Told) -> Told:
    """With what was measured of its setting, if anything was."""
    measured = _measured().get(said.key)
    if measured is None:
        return said
    because, source = ("; ".join(filter(None, both)) for both in ((said.because, measured), (said.source, SOURCE)))
    return replace(said, because=because, source=source)


@cache
def _measured() -> dict[str, str]:
    """Setting -> what another value of it did."""
    kept = json.loads((ROOT / SOURCE).read_text())
    rows = {row["arm"]: row for row in kept["ablation"]}
    repeats = [rows.pop(name) for name in REPEATS]
    base = {name: statistics.fmean(row[name] for row in repeats) for name in ("requests_s", "latency_p95_s", "memory_mib")}
    how = f"one {kept['machine']['gpu']}, {repeats[0]['concurrency']} users, windows of {repeats[0]['window_s']:g} s, {STACK} but for this"
    found: dict[str, str] = {}
    for arm, row in rows.items():
        setting, separated, value = arm.partition(": ")
        if separated:
            found[setting] = f"measured ({how}): {value}, {kept['arms'][arm]['because']}, gives {_change(row, base)}"
    return found


def _change(row: dict, base: dict[str, float]) -> str:
    rate, mib = row["requests_s"] / base["requests_s"] - 1, row["memory_mib"] - base["memory_mib"]
    text = f"{row['requests_s']:.1f} requests/s instead of {base['requests_s']:.1f}"
    if abs(rate) < NOISE:
        text += ", which is noise"
    else:
        # More in flight than there are users: the window began where it caught a wave of answers more.
        flattered = row["in_flight"] > 1.05 * row["concurrency"]
        text += f" (up to {rate:+.0%}: {row['in_flight']} of {row['concurrency']} users in flight)" if flattered else f" ({rate:+.0%})"
        # In a window shorter than an answer's time, as with one slot, too few of the users are seen to be answered.
        if row["in_flight"] > 0.9 * row["concurrency"]:
            text += f" and 95% of the answers in {row['latency_p95_s']:.2f} s instead of {base['latency_p95_s']:.2f}"
    return text + (f", with {mib:+,.0f} MiB of GPU memory" if abs(mib) > _MIB else "")
