"""Compares the planner with its peers on the same questions: error, time of an estimate, time of a sweep.

    python -m bench.planner_vs_peers [--rows 120]

Each peer runs in its own environment, which `uv` creates from the head of its script in `bench/peers/`. A peer that cannot be installed or
started is left out with a message. A script reads {rows, sweep} as JSON and prints {start_s, sweep_s, answers}.

The sweeps are medians of three fresh processes that do nothing else: the call alone, and the call with the imports and data before it.
Neither includes the interpreter's start. Questions are measured rows of H100 and H200 under a known load, as many of each (model, GPU,
engine) as there is room for. The planner's own error is that of fits without the row's (architecture, GPU, engine) group.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.performance import results
from bench.performance.observations import measured_rows
from planner.performance import published_rows
from planner.performance.estimate import estimate
from toolchain.cache import Cache
from toolchain.console import ToolchainError
from toolchain.venv import find_uv

HERE = Path(__file__).parent
RESULT = HERE / "results" / "planner_vs_peers.json"
PEERS = ("aiconfigurator", "servcalc", "llm_d_planner")
SWEEP = {"model": "Llama-3.1-70B", "gpu": "H100", "gpus": 8, "engine": "vLLM", "isl": 1000, "osl": 1000, "ttft_ms": 2000, "tpot_ms": 30}
LIMIT_S = 3600
SWEEPS = 3
QUANTITIES = ("ttft_ms", "tpot_ms")


def questions(count: int) -> list[dict[str, str]]:
    """Returns published rows: the same share of each (model, GPU, engine), always the same ones."""
    groups = defaultdict(list)
    for row in measured_rows():
        known = row["kind"] == "concurrency" and row["isl"] and row["concurrency_or_batch"] and row["ttft_ms"] and row["tpot_ms"]
        ours = row["source_repo_or_page"] == published_rows.OUR_OWN
        if known and not ours and re.match("H[12]00", row["gpu"]) and "attention data parallel" not in row["notes"]:
            groups[row["model"], row["gpu"], row["engine"]].append(row)
    draw = random.Random(0)
    each = max(count // len(groups), 1)
    return [row for _, rows in sorted(groups.items()) for row in draw.sample(rows, min(each, len(rows)))]


def plain(row: dict[str, str]) -> dict[str, Any]:
    """Returns a row as the peers' scripts read it."""
    question = published_rows.question(row)
    experts = re.search(r"moe_tp (\d+) moe_ep (\d+)", row["notes"])
    return {
        "id": row["id"], "model": row["model"], "gpu": question.gpu.family, "engine": row["engine"], "tp": question.tensor_parallel,
        "weight_precision": row["weight_precision"], "isl": int(float(row["isl"])), "osl": int(float(row["osl"])),
        "concurrency": round(question.concurrency), "layers": question.architecture.layers, "hidden": question.architecture.hidden,
        "heads": question.architecture.heads, "kv_heads": question.architecture.kv_heads,
        "intermediate": question.architecture.intermediate, "vocab": question.architecture.vocab,
        "moe": question.architecture.experts > 1, "moe_tp": int(experts[1]) if experts else 1,
        "moe_ep": int(experts[2]) if experts else 1,
    }  # fmt: skip


def ask_peer(peer: str, asked: dict[str, Any]) -> dict[str, Any] | str:
    """Returns what the peer's script prints, with the wall time of the whole run, or one line that says why it failed."""
    try:
        uv = find_uv(Cache.of_user())
    except ToolchainError as error:
        return f"skipped: {str(error).splitlines()[0]}"
    command = [uv, "run", "--quiet", "--script", str(HERE / "peers" / f"ask_{peer}.py")]
    try:
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"skipped: no answer in {LIMIT_S} s"
    if done.returncode:
        return f"skipped: {(done.stderr.strip() or 'no message').splitlines()[-1][:200]}"
    return json.loads(done.stdout.splitlines()[-1])


OUR_SWEEP = """
import json, time
started = time.perf_counter()
from planner.recommend.choice import SearchOptions
from planner.recommend.search import search
from planner.rules.planning import shape_of
from settings import files
asked = files.from_file(files.stack_file_path("prod"), "prod").require()
start_s = time.perf_counter() - started
begun = time.perf_counter()
assert search(asked, shape_of(asked), SearchOptions()).choices
print(json.dumps({"start_s": start_s, "sweep_s": time.perf_counter() - begun}))
"""


def our_sweep() -> dict[str, Any]:
    """Returns the planner's times as a peer's script does: the search of prod's layouts, and what comes before it."""
    done = subprocess.run([sys.executable, "-c", OUR_SWEEP], cwd=HERE.parent, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def sweep(processes: Iterable[dict[str, Any] | str]) -> dict[str, float] | None:
    """Returns the medians of fresh processes, or None if the peer has no sweep or failed once."""
    outputs = list(processes)
    times = [(output["start_s"], output["sweep_s"]) for output in outputs if not isinstance(output, str) and output["sweep_s"] is not None]
    if len(times) < len(outputs):
        return None
    return {
        "call_s": round(statistics.median(call_s for _, call_s in times), 3),
        "cold_s": round(statistics.median(start_s + call_s for start_s, call_s in times), 3),
    }


def left_out() -> dict[tuple[str, str], float]:
    """Returns the planner's estimates by (id, quantity), each by a fit without the row's group."""
    return {(row["id"], row["quantity"]): float(row["estimate"]) for row in results.left_out()}


def ask_ourselves(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Returns answers like a peer's script: the seconds of the released estimate, and the values of fits without the row's group."""
    started = time.perf_counter()
    estimate(published_rows.question(rows[0]))
    start_s, known, answers = time.perf_counter() - started, left_out(), []
    for row in rows:
        begun = time.perf_counter()
        estimate(published_rows.question(row))
        seconds = time.perf_counter() - begun
        answers.append({"id": row["id"], "seconds": seconds} | {quantity: known[row["id"], quantity] for quantity in QUANTITIES})
    return {"start_s": start_s, "answers": answers}


def errors(answers: list[dict], rows: dict[str, dict[str, str]], ids: set[str], quantity: str) -> list[float]:
    """Returns the absolute error in percent of each answered row with one of these ids."""
    return [100 * abs(a[quantity] / float(rows[a["id"]][quantity]) - 1) for a in answers if a["id"] in ids and a.get(quantity)]


def summary(errors_percent: list[float]) -> dict[str, float]:
    return (
        {
            "rows": len(errors_percent),
            "median": round(statistics.median(errors_percent), 1),
            "mean": round(statistics.fmean(errors_percent), 1),
        }
        if errors_percent
        else {}
    )


def compared(rows: dict[str, dict[str, str]], output: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Compares a peer and the planner on the rows that the peer answers."""
    answers = output["answers"]
    ids = {a["id"] for a in answers if "error" not in a}
    seconds = [a["seconds"] for a in answers if "error" not in a]
    mine = [a["seconds"] for a in ours["answers"]]
    return {
        "answered": len(ids), "asked": len(answers), "start_s": round(output["start_s"], 3),
        "estimate_ms": round(1e3 * statistics.median(seconds), 3) if seconds else None,
        "times_ours": round(statistics.median(seconds) / statistics.median(mine), 1) if seconds else None,
        "error": {q: {"theirs": summary(errors(answers, rows, ids, q)), "ours": summary(errors(ours["answers"], rows, ids, q))}
                  for q in QUANTITIES},
        "refusals": sorted({a["error"] for a in answers if "error" in a})[:8],
    }  # fmt: skip


def shown(result: dict) -> Table:
    columns = ("rows", "TPOT %, theirs", "ours", "TTFT %, theirs", "ours", "an estimate, ms", "a sweep, s: call", "cold")
    table = Table("", *columns, box=None)

    def pair(part: dict) -> str:
        return f"{part['median']} / {part['mean']}" if part else "-"

    def times(found: dict | None) -> tuple[str, str]:
        return (f"{found['call_s']:.2f}", f"{found['cold_s']:.2f}") if found else ("-", "-")

    for peer, summary_of_peer in result["peers"].items():
        if isinstance(summary_of_peer, str):
            table.add_row(peer, summary_of_peer)
            continue
        cells = [pair(summary_of_peer["error"][q][who]) for q in ("tpot_ms", "ttft_ms") for who in ("theirs", "ours")]
        table.add_row(
            peer,
            f"{summary_of_peer['answered']} of {summary_of_peer['asked']}",
            *cells,
            str(summary_of_peer["estimate_ms"] or "-"),
            *times(summary_of_peer["sweep"]),
        )
    ours = result["ours"]
    table.add_row("planner", str(result["rows"]), "", "", "", "", str(ours["estimate_ms"]), *times(ours["sweep"]))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.planner_vs_peers", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=120, help="measured rows to ask (default: 120)")
    chosen = questions(parser.parse_args().rows)
    rows = {row["id"]: row for row in chosen}
    ours = ask_ourselves(chosen)
    asked = {"rows": [plain(row) for row in chosen], "sweep": SWEEP}
    peers = {}
    for peer in PEERS:
        output = ask_peer(peer, asked)
        if isinstance(output, dict):
            output = compared(rows, output, ours) | {"sweep": sweep(ask_peer(peer, asked | {"rows": []}) for _ in range(SWEEPS))}
        peers[peer] = output
    result = {
        "input": results.input_of(results.LEFT_OUT),
        "rows": len(chosen),
        "ours": {
            "start_s": round(ours["start_s"], 3), "sweep": sweep(our_sweep() for _ in range(SWEEPS)),
            "estimate_ms": round(1e3 * statistics.median(a["seconds"] for a in ours["answers"]), 3),
        },
        "peers": peers,
    }  # fmt: skip
    Console().print(shown(result))
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
