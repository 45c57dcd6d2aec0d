"""Questions that tests of the estimate share, and the ways to ask them."""

import csv
import dataclasses

from bench.performance.observations import measured_rows
from planner.__main__ import main
from planner.fit import estimate_question
from planner.performance import batch, clients

GUIDE = estimate_question.EstimateOptions(
    model="llama-3-70b", gpu="H100-80GB-SXM", gpus=4, tp=4, pp=1, precision="fp8", isl=1000, osl=1000, concurrency=16, engine="vllm"
)


ROWS = [row for row in measured_rows() if not clients.not_deployed(row)]


SERVED = next(r for r in ROWS if r["kind"] == "concurrency" and r["ttft_ms"] and r["tpot_ms"] and r["isl"] and r["concurrency_or_batch"])


def ask(**changes):
    return estimate_question.answer(dataclasses.replace(GUIDE, **changes), {})


def value(found, quantity):
    return found[quantity]["value"]


def command(capsys, *arguments):
    status = main(["estimate", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def batch_lines(rows):
    text = [",".join(rows[0]), *(",".join('"' + cell.replace('"', '""') + '"' for cell in row.values()) for row in rows)]
    return batch.lines(text, {})


def written(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
