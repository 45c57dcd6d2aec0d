"""The command `python -m planner estimate`: its arguments and its output."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.fit.estimate_question import EstimateOptions

_QUESTION = (
    "model", "gpu", "gpus", "tp", "pp", "precision", "kv_precision", "isl", "osl", "concurrency", "engine", "engine_version",
)  # fmt: skip
_EXAMPLE = "--model llama-3-70b --gpu H100-80GB-SXM --tp 4 --isl 1000 --osl 1000 --concurrency 16"


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `estimate` to the planner's commands."""
    estimate = commands.add_parser(
        "estimate", help="estimate time to first token, time per output token, throughput and memory", epilog=f"Example: {_EXAMPLE}"
    )
    estimate.add_argument(
        "--batch", type=Path, metavar="FILE.csv", help="a file of questions; docs/performance-model.md describes its columns"
    )
    estimate.add_argument("--model", help="a model of planner/catalogue/data/models.csv")
    estimate.add_argument("--gpu", help="a GPU of planner/catalogue/data/gpus.csv")
    estimate.add_argument("--gpus", type=int, help="GPUs of all replicas (default: one replica, tp x pp)")
    estimate.add_argument("--tp", type=int, default=1, help="tensor parallelism (default: 1)")
    estimate.add_argument("--pp", type=int, default=1, help="pipeline parallelism (default: 1)")
    estimate.add_argument("--precision", default="fp16", help="precision of the weights (default: fp16)")
    estimate.add_argument("--kv-precision", choices=("fp16", "fp8"), help="precision of the KV cache (default: the engine's)")
    estimate.add_argument("--isl", type=int, default=1000, help="input tokens per request (default: 1000)")
    estimate.add_argument("--osl", type=int, default=1000, help="output tokens per request (default: 1000)")
    estimate.add_argument("--concurrency", type=int, default=16, help="requests in flight over all replicas (default: 16)")
    estimate.add_argument("--engine", default="vllm", help="vllm, tensorrt-llm, sglang or llama.cpp (default: vllm)")
    estimate.add_argument("--engine-version", help="version of the engine (default: the newest one with measurements)")
    estimate.add_argument(
        "--calibrate", type=Path, metavar="FILE.csv", help="your own measurements, which adjust the constants of the model"
    )
    estimate.add_argument("--json", action="store_true", help="print one JSON object")
    estimate.set_defaults(default_of=estimate.get_default)


def run(options: argparse.Namespace) -> int:
    """Runs `estimate`. Returns the exit status: 0 with an answer, 1 if the question has none."""
    from planner.performance.published_rows import Impossible

    try:
        return _batch(options) if options.batch else _single(options)
    except Impossible as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
    return 1


def _batch(options: argparse.Namespace) -> int:
    from planner.performance import batch, calibrate, csv_rows, published_rows

    given = [f"--{name.replace('_', '-')}" for name in _QUESTION if getattr(options, name) != options.default_of(name)]
    if given:
        raise published_rows.Impossible(f"{', '.join(given)} would have no effect: with --batch, the file holds all questions")
    shifts = calibrate.shifts(options.calibrate) if options.calibrate else {}
    with csv_rows.opened(options.batch) as file:
        try:
            for line in batch.lines(file, shifts):
                print(line)
        except published_rows.Impossible as error:
            raise published_rows.Impossible(f"{options.batch}: {error}") from None
    return 0


def _single(options: argparse.Namespace) -> int:
    from planner.fit import estimate_question
    from planner.performance import calibrate
    from planner.performance.published_rows import Impossible

    missing = [f"--{name}" for name in ("model", "gpu") if getattr(options, name) is None]
    if missing:
        raise Impossible(f"{' and '.join(missing)} missing (or give --batch FILE.csv); for example: python -m planner estimate {_EXAMPLE}")
    ask = estimate_question.EstimateOptions(
        model=options.model, gpu=options.gpu, gpus=options.tp * options.pp if options.gpus is None else options.gpus, tp=options.tp,
        pp=options.pp, precision=options.precision, kv_precision=options.kv_precision, isl=options.isl, osl=options.osl,
        concurrency=options.concurrency, engine=options.engine, engine_version=options.engine_version,
    )  # fmt: skip
    shifts = calibrate.shifts(options.calibrate) if options.calibrate else {}
    answer = estimate_question.answer(ask, shifts)
    print(json.dumps(answer, indent=2) if options.json else _text(ask, answer))
    return 0


def _text(ask: EstimateOptions, answer: dict) -> str:
    names = {
        "ttft_ms": "time to first token, ms", "tpot_ms": "time per output token, ms", "throughput_tok_s": "output tokens/s",
        "requests_s": "requests/s", "memory_gib": "memory of the fullest GPU, GiB",
    }  # fmt: skip
    lines = [
        f"{ask.model} {ask.precision} on {ask.gpus} x {ask.gpu}, {ask.engine}: {ask.concurrency} requests of {ask.isl} + {ask.osl} tokens"
    ]
    for key, name in names.items():
        part = answer[key]
        lines.append(f"  {name:32s} {part['value']:>9g}   ({part['low']:g} to {part['high']:g})")
    lines.append(f"  {'floor of time per token, ms':32s} {answer['floor_tpot_ms']:>9g}")
    if answer["extrapolated"]:
        lines.append("  Extrapolated: these ranges are not backed by measurements of such a GPU, shape or load under this engine.")
    return "\n".join(lines)
