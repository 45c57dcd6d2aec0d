"""Writes `models.json` from the pinned wheels: `python -m tests.azure_reference` (30 MB of downloads)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.azure_reference.extract import models, reachable
from tests.azure_reference.sources import MODELS, SOURCES, requirements


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = {requirement.split()[0]: _unpacked(requirement, Path(scratch, str(n))) for n, requirement in enumerate(requirements())}
        found = {
            f"{source.package} {source.module}": reachable(models(unpacked[source.package] / source.module), [*source.bodies.values()])
            for source in SOURCES
        }
    lines = [f"{json.dumps(name)}: {json.dumps(kept, sort_keys=True)}" for name, kept in found.items()]
    text = ",\n".join([f'"wheels": {json.dumps(requirements())}', *lines])
    MODELS.write_text(f"{{\n{text}\n}}\n")


def _unpacked(requirement: str, folder: Path) -> Path:
    """Each by itself, since there are two versions of one package."""
    folder.mkdir()
    file = folder / "requirement.txt"
    file.write_text(requirement)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    subprocess.run([*command, "-r", file, "-d", folder], check=True)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder)
    return folder


if __name__ == "__main__":
    main()
