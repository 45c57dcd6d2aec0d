"""`python -m planner estimate`: its arguments, and what it prints."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

_QUESTION = (
    "model", "gpu", "gpus", "tp", "pp", "precision", "kv_precision", "isl", "osl", "concurrency", "engine", "engine_version",
)  # fmt: skip
_EXAMPLE = "--model llama-3-70b --gpu H100-80GB-SXM --tp 4 --isl 1000 --osl 1000 --concurrency 16"


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `estimate` to the planner's commands."""
    told = commands.add_parser("estimate", help="time to first token, time per output token, throughput, memory", epilog=_EXAMPLE)
    told.add_argument(
        "--batch", type=Path, metavar="FILE.csv", help="questions in the columns of planner/performance/data/measurements.csv"
    )
    told.add_argument("--model", help="a model of planner/catalogue/data/models.csv")
    told.add_argument("--gpu", help="a GPU of planner/catalogue/data/gpus.csv")
    told.add_argument("--gpus", type=int, help="GPUs of all replicas (default: one replica, tp x pp)")
    told.add_argument("--tp", type=int, default=1, help="tensor parallel (default: 1)")
    told.add_argument("--pp", type=int, default=1, help="pipeline parallel (default: 1)")
    told.add_argument("--precision", default="fp16", help="of the weights (default: fp16)")
    told.add_argument("--kv-precision", choices=("fp16", "fp8"), help="of the KV cache (default: the engine's)")
    told.add_argument("--isl", type=int, default=1000, help="input tokens a request (default: 1000)")
    told.add_argument("--osl", type=int, default=1000, help="output tokens a request (default: 1000)")
    told.add_argument("--concurrency", type=int, default=16, help="requests in flight over all replicas (default: 16)")
    told.add_argument("--engine", default="vllm", help="vllm, tensorrt-llm, sglang or llama.cpp (default: vllm)")
    told.add_argument("--engine-version", help="default: the newest of which measurements were fitted")
    told.add_argument("--calibrate", type=Path, metavar="FILE.csv", help="measured points of your own, which move the constants")
    told.add_argument("--json", action="store_true", help="print one JSON object")
    told.set_defaults(default_of=told.get_default)


def run(options: argparse.Namespace) -> int:
    """Exit status: 0 with an answer, 1 where the question has none."""
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

    asked = [f"--{name.replace('_', '-')}" for name in _QUESTION if getattr(options, name) != options.default_of(name)]
    if asked:
        raise published_rows.Impossible(f"{', '.join(asked)} would change nothing: with --batch all questions are in the file")
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
        raise Impossible(f"{' and '.join(missing)} missing (or --batch FILE.csv); for example: python -m planner estimate {_EXAMPLE}")
    ask = estimate_question.Ask(
        model=options.model, gpu=options.gpu, gpus=options.tp * options.pp if options.gpus is None else options.gpus, tp=options.tp,
        pp=options.pp, precision=options.precision, kv_precision=options.kv_precision, isl=options.isl, osl=options.osl,
        concurrency=options.concurrency, engine=options.engine, engine_version=options.engine_version,
    )  # fmt: skip
    shifts = calibrate.shifts(options.calibrate) if options.calibrate else {}
    found = estimate_question.answer(ask, shifts)
    print(json.dumps(found, indent=2) if options.json else _text(ask, found))
    return 0


def _text(ask, found: dict) -> str:
    names = {
        "ttft_ms": "time to first token, ms", "tpot_ms": "time per output token, ms", "throughput_tok_s": "output tokens/s",
        "requests_s": "requests/s", "memory_gib": "memory of the fullest GPU, GiB",
    }  # fmt: skip
    lines = [
        f"{ask.model} {ask.precision} on {ask.gpus} x {ask.gpu}, {ask.engine}: {ask.concurrency} requests of {ask.isl} + {ask.osl} tokens"
    ]
    for key, name in names.items():
        part = found[key]
        lines.append(f"  {name:32s} {part['value']:>9g}   ({part['low']:g} to {part['high']:g})")
    lines.append(f"  {'floor of time per token, ms':32s} {found['floor_tpot_ms']:>9g}")
    if found["extrapolated"]:
        lines.append("  Extrapolated: no measurement of such a GPU, shape or load under this engine stands behind these ranges.")
    return "\n".join(lines)
