"""The tables of docs/performance-model.md, written from a fit's result between the page's own marks."""

from __future__ import annotations

import re
from pathlib import Path

WORST_GROUPS = 14
_KINDS = ("left_out", "left_out_trusted", "left_out_campaign", "left_out_source", "left_out_engine", "left_out_random", "inside")
FEWEST_GROUPS = 5
"""That a row of the ranges' table has; bench/results/performance_ranges.json has all."""
_QUANTITIES = {
    "static_tpot": "time per token of a batch",
    "served_tpot": "time per token under load",
    "single_ttft": "first token of one request",
    "served_ttft": "first token under load",
    "static_rate": "tokens/s of a batch",
    "saturated_rate": "tokens/s saturated",
    "served_rate": "tokens/s under load",
}


def _pair(part: dict | None) -> str:
    return f"{part['median']} / {part['mean']}" if part else "-"


def errors(result: dict, held: dict) -> str:
    """Percent, median / mean, by quantity and way of leaving out; and what the ranges hold."""
    lines = [
        "| quantity | rows | groups | aim | combination | trusted | campaign | source | engine and GPU | random | seen | inside | x/: |",
        "|---|---:|---:|---|---|---|---|---|---|---|---|---:|---:|",
    ]
    for name, first in sorted(result["left_out"].items()):
        aim = f"{first['aim_median']} / {first['aim_mean']}" if first["aim_median"] else "reported only"
        kinds = " | ".join(_pair(result.get(kind, {}).get(name)) for kind in _KINDS)
        test = held["aims"][name]
        lines.append(f"| {name} | {first['rows']} | {first['groups']} | {aim} | {kinds} | {test['inside']} % | {test['half_width']} |")
    return "\n".join(lines)


def ranges(held: dict) -> str:
    """What the ranges promise and hold, by quantity and nearness, then by quantity, engine and GPU family."""
    lines = ["| quantity | rows left out | groups | inside, of groups | of rows | x/: |", "|---|---:|---:|---:|---:|---:|"]
    for key, part in [*sorted(held["near"].items()), *sorted(held["engines"].items())]:
        target, rest = key.split(" ", 1)
        if part["groups"] >= FEWEST_GROUPS:
            name = f"{_QUANTITIES[target]}, {rest if key in held['near'] else rest.replace(' ', ' on ')}"
            shares = f"{part['groups_inside']} % | {part['inside']} %"
            lines.append(f"| {name} | {part['rows']} | {part['groups']} | {shares} | {part['half_width']} |")
    return "\n".join(lines)


def points(result: dict) -> str:
    """What three points of each group left out bring to its other rows."""
    lines = ["| quantity | without | with three points |", "|---|---|---|"]
    for name, before in sorted(result.get("without_points", {}).items()):
        lines.append(f"| {name} | {_pair(before)} | {_pair(result['with_points'][name])} |")
    return "\n".join(lines)


def worst_groups(result: dict) -> str:
    """Groups of the aims' GPUs by the rows times the mean error that they cost."""
    lines = ["| quantity | group | rows | median / mean % | bias |", "|---|---|---:|---|---:|"]
    parts = [(*name.split(" "), part) for name, part in result["left_out_by_group"].items()]
    judged = [p for p in parts if re.search(r"\|(V100|A100|H100|H200)\|", p[1])]
    for target, group, part in sorted(judged, key=lambda p: -p[2]["rows"] * p[2]["mean"])[:WORST_GROUPS]:
        lines.append(f"| {target} | {group.replace('|', ' / ')} | {part['rows']} | {_pair(part)} | {part['bias']:+.2f} |")
    return "\n".join(lines)


def write(page: Path, result: dict, held: dict) -> None:
    """Replaces what stands between `<!-- NAME -->` and `<!-- end -->`; a table that was not measured this time stays."""
    text = page.read_text()
    found = {"errors": errors(result, held), "ranges": ranges(held), "groups": worst_groups(result)}
    if "with_points" in result:
        found["points"] = points(result)
    for name, table in found.items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", lambda match, table=table: match[1] + table + match[2], text, flags=re.S)
    page.write_text(text)
