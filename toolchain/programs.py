"""Each program into a folder of its own, named by the content of its pins; one flat bin and share in front.

A folder appears under its final name only when whole, so its being there is all that a later run has to look at.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from toolchain.cache import Cache, copy_out, point, remove, size_bytes
from toolchain.console import megabytes, say
from toolchain.golang import BUILD_FLAGS, COMPILE_FLAGS, LINK_FLAGS, Go
from toolchain.npm import build_npm
from toolchain.packages import build_package
from toolchain.recipes import KUBERNETES_PROVIDER_CODE_OF, AnyRecipe, NpmRecipe, PackageRecipe, Recipe

PINS = Path(__file__).resolve().parent / "programs"
PINNED = (".mod", ".sum", ".go", ".txt", ".cmake")


@dataclass(kw_only=True)
class Progress:
    """Numbers the programs of one run and tells how long each may take on this machine."""

    total: int
    done: int = 0
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)

    def start(self, name: str, cpu_seconds: int) -> Callable[[], None]:
        self.done += 1
        label = f"[{self.done}/{self.total}] {name}"
        expected = max(1, round(cpu_seconds / self.cores))
        started = time.monotonic()
        say(f"{label}: building, about {expected} s on {self.cores} cores")
        return lambda: say(f"{label}: {time.monotonic() - started:.0f} s so far, about {expected} s expected")

    def package(self, recipe: PackageRecipe | NpmRecipe) -> Callable[[], None]:
        """One step a package; one that compiles nothing takes as long as its download."""
        if recipe.outputs:
            return self.start(recipe.name, sum(output.cpu_seconds for output in recipe.outputs))
        say(f"{recipe.name}: fetching")
        started = time.monotonic()
        return lambda: say(f"{recipe.name}: fetching, {time.monotonic() - started:.0f} s so far")


def folder_of(cache: Cache, recipe: AnyRecipe, pins: Path = PINS) -> Path:
    """Named by what is built, not by what builds it: a newer Go on PATH is no reason to spend 20 minutes again."""
    what: dict[str, Any] = asdict(recipe) | ({"flags": [BUILD_FLAGS, LINK_FLAGS]} if isinstance(recipe, Recipe) else {})
    for output in what["outputs"]:
        del output["cpu_seconds"]  # only an estimate
    content = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for file in sorted(file for file in (pins / recipe.name).iterdir() if file.suffix in PINNED):
        content.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return cache.programs / f"{recipe.name}-{content.hexdigest()[:12]}"


def ensure_program(cache: Cache, recipe: AnyRecipe, go: Callable[[], Go], progress: Progress, pins: Path = PINS) -> Path:
    """Return the program's folder (bin/, share/), built first if it is not there."""
    folder = folder_of(cache, recipe, pins)
    if folder.exists():
        return folder
    with cache.lock(recipe.name):
        if folder.exists():  # another run made it while this one waited
            progress.done += len(recipe.outputs)
            return folder
        partial = folder.with_name(f".{folder.name}.partial")
        remove(partial)  # left by a run that was stopped
        (partial / "bin").mkdir(parents=True)
        started = time.monotonic()
        if isinstance(recipe, PackageRecipe):
            build_package(cache, recipe, partial, progress.package(recipe), pins)
        elif isinstance(recipe, NpmRecipe):
            build_npm(cache, recipe, partial, progress.package(recipe), pins)
        else:
            build(recipe, partial, go(), progress, pins)
        size = size_bytes(partial)
        (partial / "made.json").write_text(json.dumps({"size_bytes": size, "seconds": round(time.monotonic() - started)}))
        partial.rename(folder)
        say(f"{recipe.name} {recipe.version}: done in {time.monotonic() - started:.0f} s, {megabytes(size)}")
    return folder


def build(recipe: Recipe, target: Path, go: Go, progress: Progress, pins: Path) -> None:
    """Build and copy into `target`; works on a copy of the pins, so that nothing is ever written to the repository."""
    go.cache.logs.mkdir(parents=True, exist_ok=True)
    source = target / "source"
    shutil.copytree(pins / recipe.name, source)
    log = go.cache.logs / f"{recipe.name}.log"
    if recipe.embeds == "kubernetes-schema":
        embed_kubernetes_schema(go.module_folder(recipe.module, source, log) / "cmd" / "pulumi-resource-kubernetes", source)
    for output in recipe.outputs:
        flags = f"{LINK_FLAGS} {recipe.ldflags}".strip()
        tags = ["-tags", recipe.tags] if recipe.tags else []
        arguments = ["build", "-o", str(target / "bin" / output.name), COMPILE_FLAGS, "-ldflags", flags, *tags, output.package]
        heartbeat = progress.start(output.name, output.cpu_seconds)
        log = go.cache.logs / f"{output.name}.log"
        go.run(arguments, folder=source, log=log, purpose=f"building {output.name} {recipe.version}", heartbeat=heartbeat)
    for copy in recipe.copies:
        copy_out(go.module_folder(copy.module, source, log) / copy.source, target / copy.target)
    remove(source)


def embed_kubernetes_schema(provider: Path, target: Path) -> None:
    """What the provider's own generator does: its schema with a version, compact, for main.go to embed."""
    schema = json.loads((provider / "schema.json").read_text()) | {"version": KUBERNETES_PROVIDER_CODE_OF}
    mapping = json.loads((provider / "terraform-mapping.json").read_text())
    for name, content in {"schema.json": schema, "terraform-mapping.json": mapping}.items():
        (target / name).write_text(json.dumps(content, separators=(",", ":")))


def link(cache: Cache, folders: list[Path], official: dict[str, Path], *, keep_others: bool = False) -> None:
    """Make bin and share show exactly these programs, or these beside the others that are there."""
    wanted = {cache.bin / name: file for name, file in official.items()}
    for folder in folders:
        for kind, front in (("bin", cache.bin), ("share", cache.share)):
            for entry in (folder / kind).iterdir() if (folder / kind).exists() else ():
                wanted[front / entry.name] = Path(os.path.relpath(entry, front))
    with cache.lock("links"):
        for front in (cache.bin, cache.share):
            front.mkdir(parents=True, exist_ok=True)
        for name, target in wanted.items():
            point(name, target)
        # The language host looks for its executor beside its own file, links followed.
        host, executor = cache.bin / "pulumi-language-python", cache.bin / "pulumi-language-python-exec"
        if {host, executor} <= wanted.keys() and not host.resolve().with_name(executor.name).exists():
            beside = host.resolve().with_name(executor.name)
            # Relative, so that the cache may be moved.
            point(beside, Path(os.path.relpath(executor, beside.parent)))
        for entry in (*cache.bin.iterdir(), *cache.share.iterdir()):
            if entry not in wanted and not keep_others:
                entry.unlink()


def prune(cache: Cache, keep: set[Path]) -> None:
    """Remove programs and environments of other pins. Only on request: another checkout may still want them."""
    for folder in (*cache.programs.iterdir(), *cache.root.glob("venv-*")):
        if folder not in keep:
            say(f"removing {folder}")
            remove(folder)
