"""Judges every line that has no verdict that it starts, or all: `python -m tests.engines.vllm_referee [--all]`.

Each release gets an environment of its own in the per-user cache, with the packages of `requirements/RELEASE.txt`: what its image had
installed when it was published (`uv pip compile --exclude-newer`). About 10 GB a release, and a few seconds a line. Needs `cc`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from planner.catalogue import hardware
from tests.engines.vllm_referee import verdicts
from tests.engines.vllm_referee.lines import HERE, MODELS, Line, lines

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zig-ai-aks" / "vllm-referee"
DRIVER = (
    "cuCtxGetCurrent",
    "cuCtxGetLimit",
    "cuCtxSetCurrent",
    "cuCtxSetLimit",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuFuncSetCacheConfig",
    "cuGetErrorString",
    "cuMemAddressFree",
    "cuMemAddressReserve",
    "cuMemCreate",
    "cuMemGetAllocationGranularity",
    "cuMemMap",
    "cuMemRelease",
    "cuMemSetAccess",
    "cuMemUnmap",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuPointerGetAttribute",
    "cuTensorMapEncodeTiled",
)
"""Functions of CUDA's driver that vLLM's libraries must find to be loaded. Each answers that there is no device."""


def environment(release: str) -> Path:
    """The Python of a release's environment, made at the first call."""
    folder = CACHE / release
    python, requirements = folder / "bin" / "python", HERE / "requirements" / f"{release}.txt"
    done = folder / "requirements.txt"
    if not done.exists() or done.read_text() != requirements.read_text():
        print(f"vLLM {release}: about 10 GB into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", requirements], check=True)
        done.write_text(requirements.read_text())
    driver = CACHE / "driver" / "libcuda.so.1"
    driver.parent.mkdir(parents=True, exist_ok=True)
    source = driver.with_name("cuda.c")
    source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in DRIVER))
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", driver, source], check=True)
    return python


def judged(release: str, gpu: str, group: list[Line]) -> list[tuple[Line, dict]]:
    """Verdicts of one release on one GPU."""
    card = hardware.gpu(gpu)
    asked = {"name": gpu, "capability": card.compute_capability, "memory_mib": int(card.memory_gib * 1024)}
    variables = os.environ | {
        "LD_LIBRARY_PATH": str(CACHE / "driver"),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CACHE_ROOT": str(CACHE / "files"),
    }
    rows = [
        {"args": one.args, "environment": dict(one.environment), "config": MODELS[one.model]["config"], "scheme": one.scheme}
        for one in group
    ]
    with (CACHE / f"{release}-{gpu}.log").open("w") as log:
        ran = subprocess.run(
            [CACHE / release / "bin" / "python", HERE / "judge.py", json.dumps(asked)],
            input="".join(json.dumps(row) + "\n" for row in rows),
            env=variables,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    answers = [json.loads(answer) for answer in ran.stdout.splitlines()]
    print(f"vLLM {release} on {gpu}: {len(answers)} of {len(group)} lines, {sum(one['starts'] for one in answers)} start", file=sys.stderr)
    if len(answers) != len(group):
        raise RuntimeError(f"the judge ended: {log.name}")
    return list(zip(group, answers, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="also the lines that have a verdict")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    rendered, known = lines(), {} if options.all else verdicts.read()
    known = {kind: one for kind, one in known.items() if kind in rendered and one.starts}
    kept = [(one.line, one.said()) for one in known.values()]
    new = [one for kind, one in rendered.items() if kind not in known]
    for release in {one.release for one in new}:
        environment(release)
    groups: dict[tuple[str, str], list[Line]] = {}
    for one in new:
        groups.setdefault((one.release, one.gpu), []).append(one)
    began = time.monotonic()
    with ThreadPoolExecutor(options.processes) as pool:
        for answers in pool.map(lambda item: judged(*item[0], item[1]), groups.items()):
            kept += answers
            verdicts.write(kept)
    verdicts.write(kept)
    print(f"{len(new)} lines judged in {time.monotonic() - began:.0f} s, {len(kept)} verdicts in all", file=sys.stderr)


if __name__ == "__main__":
    main()
