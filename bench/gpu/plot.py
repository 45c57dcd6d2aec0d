# /// script
# requires-python = ">=3.11"
# dependencies = ["matplotlib==3.10.7"]
# ///
"""Draws a results file of measure.py as an SVG beside it: uv run --script bench/gpu/plot.py bench/results/gpu_<card>_<engine>.json"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib
from matplotlib import pyplot

USERS = 100
LATENCY_S = 2.0
"""The guide's latency target in seconds."""
REPEATS = ("as rendered", "as rendered, again")
GREY, BLUE, GREEN, INK = "#8a8f98", "#2563eb", "#0f9d74", "#1f2328"


def plain(axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", pad=8)
    axes.spines[["top", "right"]].set_visible(False)


def p95_text(row: dict) -> str:
    """Returns the latency. It is computed from the other users if the window is too short for a request to wait its turn."""
    alone = row["concurrency"] == row["slots"] == 1
    if row["in_flight"] > 0.9 * row["concurrency"] and not alone:
        return f"{row['latency_p95_s']:.1f} s"
    return f"about {(USERS if alone else row['concurrency']) / row['requests_s']:.0f} s"


def arms(axes, kept: dict, shown: dict[str, tuple[str, str]]) -> None:
    """Draws the requests per second with 100 users, with their cost beside each bar."""
    measured = [row for row in kept["rows"] if "error" not in row]
    at = {row["arm"]: row for row in measured if row["concurrency"] == USERS}
    # Of one request at a time, one user tells as much as a hundred that wait.
    one = {row["arm"]: row for row in measured if row["slots"] == 1 and row["concurrency"] == 1}
    rows = [at.get(name) or one[name] for name in shown]
    drawn = axes.barh([label for label, _ in shown.values()], [row["requests_s"] for row in rows], color=[c for _, c in shown.values()])
    words = []
    for row in rows:
        rate = f"{row['requests_s']:.{1 if row['requests_s'] >= 1 else 2}f}"
        words.append(f"{rate} ({p95_text(row)}, {row['memory_mib'] / 1024:.0f} GiB, {row['joules_per_token']:.2f} J/token)")
    axes.bar_label(drawn, labels=words, padding=4, fontsize=8.5)
    axes.set_xlim(0, 2.4 * max(row["requests_s"] for row in rows))
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    plain(axes, f"Requests/s with {USERS} users (95 % of the answers within, GPU memory, energy)")


def users(axes, kept: dict, shown: dict[str, tuple[str, str]]) -> None:
    for name in dict.fromkeys((kept["best"], kept["fastest"])):
        label, colour = shown[name]
        rows = (row for row in (*kept["rows"], *kept["users"]) if row["arm"] == name and "error" not in row)
        curve = sorted((row["concurrency"], row["latency_p95_s"]) for row in rows)
        axes.plot(*zip(*curve, strict=True), "o-", color=colour, markersize=3.5, label=label)
    axes.axhline(LATENCY_S, color=INK, linewidth=0.8, linestyle="--")
    most = max(row["concurrency"] for row in kept["users"])
    axes.annotate(f"the guide's {LATENCY_S:g} s", (most, LATENCY_S), ha="right", va="top", xytext=(0, -3), textcoords="offset points")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("users")
    axes.legend(frameon=False, loc="upper left")
    plain(axes, "95 % of the answers within, s")


def settings(axes, kept: dict) -> None:
    """Draws each changed setting: requests/s compared with the mean of the two runs without changes."""
    rows = {row["arm"]: row for row in kept["ablation"] if "error" not in row}
    repeats = [rows.pop(name)["requests_s"] for name in REPEATS]
    base = statistics.fmean(repeats)
    noise = (max(repeats) - min(repeats)) / base * 100
    changed = sorted(rows.values(), key=lambda row: row["requests_s"])
    names = [row["arm"].replace("coordinator.config.", "").replace("shard.", "").replace("model.", "") for row in changed]
    values = [(row["requests_s"] / base - 1) * 100 for row in changed]
    axes.axvspan(-noise, noise, color=GREY, alpha=0.25, linewidth=0)
    axes.barh(names, values, color=[BLUE if abs(value) > noise else GREY for value in values], height=0.6)
    for place, (value, row) in enumerate(zip(values, changed, strict=True)):
        # More in flight than there are users: the window began where it caught a wave of answers more.
        most = "up to " if row["in_flight"] > 1.05 * row["concurrency"] else ""
        axes.text(max(value, noise) + 3, place, f"{most}{value:+.0f} %, {p95_text(row)}", va="center", fontsize=8.5)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlim(min(-85, 1.05 * min(values)), max(90, 1.3 * max(values)))
    axes.set_xticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    [count] = {row["concurrency"] for row in kept["ablation"] if "error" not in row}
    plain(axes, f"One setting changed, {count} users:\nrequests/s (grey: noise of a repeat),\n95 % of the answers within")


def main(file: Path) -> None:
    matplotlib.rcParams.update(
        {"font.size": 9, "svg.hashsalt": "zig-ai-aks", "svg.fonttype": "none", "text.color": INK, "axes.labelcolor": INK}
    )
    kept = json.loads(file.read_text())
    shown = {
        "untuned": ("untuned", GREY),
        "defaults": (f"{kept['rows'][-1]['engine']}'s\ndefaults", GREY),
        "guide": ("the guide,\nas rendered", GREY),
        kept["best"]: ("best in 60 % of\nuntuned's memory", BLUE),
        kept["fastest"]: ("fastest", GREEN),
    }
    figure, grid = pyplot.subplot_mosaic([["arms", "settings"], ["users", "settings"]], figsize=(11.5, 5.6), width_ratios=[1.25, 0.75])
    arms(grid["arms"], kept, shown)
    users(grid["users"], kept, shown)
    settings(grid["settings"], kept)
    figure.suptitle(
        f"{kept['engine']['package']}, llama-3-8b's shape with random weights, answers of {kept['load']['answer_tokens']} tokens, one "
        f"{kept['machine']['gpu']}, {kept['date']}", fontsize=10, x=0.01, ha="left",
    )  # fmt: skip
    figure.tight_layout()
    picture = file.with_suffix(".svg")
    # A background of its own: a page's may be dark.
    figure.savefig(picture, metadata={"Date": None}, facecolor="white")
    print(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
