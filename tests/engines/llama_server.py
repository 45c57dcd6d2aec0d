"""Flags of llama-server: those of a real binary, and the list of the pinned version.

python -m tests.engines.llama_server    # writes the list anew, from the llama-server on PATH
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from planner.engine_facts.llama_cpp import RELEASE

LIST = Path(__file__).with_name("llama_server_flags.txt")


def known() -> dict[str, bool]:
    """Maps each flag of the list to whether a value follows it."""
    lines = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {line.split()[0]: line.endswith(" VALUE") for line in lines}


def of_binary(program: str) -> dict[str, bool]:
    """The same of a binary's `--help`."""
    return {name: value for names, value, _ in _help(program) for name in names}


def variables_of_binary(program: str) -> dict[str, str]:
    """Flag to the environment variable that is read in its place, of those that have one."""
    return {name: variable for names, _, variable in _help(program) if variable for name in names}


def _help(program: str) -> Iterator[tuple[list[str], bool, str]]:
    """Names of a flag, whether a value follows it, and its environment variable, of a binary's `--help`."""
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    # Names with a comma and any spaces between them; one space, and what follows them. Until the next such line, its description.
    for part in re.split(r"^(?=-)", text, flags=re.MULTILINE):
        if head := re.match(r"(-[\w-]+(?:,\s+-[\w-]+)*)(?: (\S+))?", part):
            variable = re.search(r"\(env: (\w+)\)", part)
            yield re.split(r",\s+", head[1]), head[2] is not None, variable[1] if variable else ""


def main() -> None:
    flags = of_binary("llama-server")
    lines = [f"{name} VALUE" if value else name for name, value in sorted(flags.items())]
    LIST.write_text(f"# llama-server --help of llama.cpp {RELEASE}\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
