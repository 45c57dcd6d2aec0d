"""Finds an official Pulumi CLI on PATH, which is used if it is suitable."""

import json
import os
import re
import subprocess
from pathlib import Path

from toolchain.cache import Cache
from toolchain.console import say
from toolchain.recipes import MIN_PULUMI, WITH_OFFICIAL_PULUMI


def find_official_pulumi(cache: Cache) -> dict[str, Path]:
    """Returns the files of the CLI and its language host by name, or nothing if no suitable one is on PATH."""
    program = _on_path(cache)
    if program is None:
        return {}
    files = {name: program.parent / name for name in WITH_OFFICIAL_PULUMI}
    lacking = [name for name, file in files.items() if not os.access(file, os.X_OK)]
    version = _version(cache, program)
    wanted = ".".join(map(str, MIN_PULUMI))
    if lacking:
        reason = f"{lacking[0]} is not beside it"
    elif version < MIN_PULUMI:
        reason = f"it is version {'.'.join(map(str, version))}, and {wanted} or newer is needed"
    else:
        return files
    say(f"{program} is not used: {reason}; the one built here comes first on PATH")
    return {}


def _on_path(cache: Cache) -> Path | None:
    for folder in os.get_exec_path():
        program = Path(folder or ".").absolute() / "pulumi"
        # The links in the cache's bin are not an official installation.
        if program.parent != cache.bin and os.access(program, os.X_OK) and program.is_file():
            real = program.resolve()
            if cache.root.resolve() not in real.parents:
                return real
    return None


def _version(cache: Cache, program: Path) -> tuple[int, ...]:
    """Returns the version of the CLI. It is cached per file, because starting the CLI takes half a second."""
    state = program.stat()
    identity = [str(program), state.st_mtime_ns, state.st_size]
    memory = cache.root / "official-pulumi.json"
    try:
        remembered = json.loads(memory.read_text())
        if remembered["identity"] == identity:
            return tuple(remembered["version"])
    except (OSError, ValueError, KeyError):
        pass
    environment = os.environ | {"PULUMI_SKIP_UPDATE_CHECK": "1"}
    answer = subprocess.run([str(program), "version"], env=environment, capture_output=True, text=True, check=False).stdout
    match = re.search(r"v?(\d+)\.(\d+)", answer)
    version = tuple(map(int, match.groups())) if match else (0,)
    cache.root.mkdir(parents=True, exist_ok=True)
    partial = memory.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"identity": identity, "version": version}))
    os.replace(partial, memory)
    return version
