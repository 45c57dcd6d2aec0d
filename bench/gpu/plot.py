# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib==3.10.7"]
# ///
"""Draws a results file of measure.py as an SVG beside it: uv run --script bench/gpu/plot.py bench/results/gpu_<card>.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib
from matplotlib import pyplot

USERS = 100
GREY, BLUE = "#8a8f98", "#2563eb"
LATENCY_S = 2.0


def bars(axes, arms: list[str], values: list[float], title: str, form: str) -> None:
    drawn = axes.bar(arms, values, color=[GREY] * (len(arms) - 1) + [BLUE], width=0.65)
    axes.bar_label(drawn, labels=[form.format(value) for value in values], fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_yticks([])
    axes.margins(y=0.15)
    axes.spines[["top", "right", "left"]].set_visible(False)


def main(file: Path) -> None:
    matplotlib.rcParams.update({"font.size": 9, "svg.hashsalt": "zig-ai-aks"})
    kept = json.loads(file.read_text())
    best = kept["best"]
    names = {"untuned": "untuned", "defaults": "own\ndefaults", "guide": "the guide's\ntuning", best: "best\nfound"}
    at = {row["arm"]: row for row in kept["rows"] if row.get("concurrency") == USERS}
    rows = [at[name] for name in names]
    figure, axes = pyplot.subplots(1, 5, figsize=(13, 2.9), gridspec_kw={"width_ratios": [1, 1, 1, 1, 1.25]})
    labels = list(names.values())
    bars(axes[0], labels, [row["requests_s"] for row in rows], "requests/s", "{:.1f}")
    # Of one slot, what its window cannot show: a request waits for 99 others.
    p95 = [row["latency_p95_s"] if row["in_flight"] > 0.8 * USERS else USERS / row["requests_s"] for row in rows]
    bars(axes[1], labels, p95, "95 % answered in, s", "{:.1f}")
    bars(axes[2], labels, [row["memory_mib"] / 1024 for row in rows], "GPU memory, GiB", "{:.1f}")
    bars(axes[3], labels, [row["joules_per_token"] for row in rows], "J a token", "{:.2f}")
    curve = sorted((row for row in (*kept["rows"], *kept.get("users", [])) if row.get("arm") == best), key=lambda row: row["concurrency"])
    axes[4].plot([row["concurrency"] for row in curve], [row["latency_p95_s"] for row in curve], "o-", color=BLUE, markersize=3.5)
    axes[4].axhline(LATENCY_S, color=GREY, linewidth=0.8, linestyle="--")
    axes[4].set_title("best found: 95 % answered in, s, by users", fontsize=10, loc="left")
    axes[4].set_ylim(bottom=0)
    axes[4].spines[["top", "right"]].set_visible(False)
    machine = kept["machine"]
    figure.suptitle(
        f"llama-3-8b's shape, {USERS} users, answers of 100 tokens: llama.cpp on one {machine['gpu']}, {kept['date']}",
        fontsize=10, x=0.01, ha="left",
    )  # fmt: skip
    figure.tight_layout()
    picture = file.with_suffix(".svg")
    figure.savefig(picture, metadata={"Date": None})
    print(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
