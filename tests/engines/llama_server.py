"""Flags of llama-server: those of a real binary, and the list of the pinned version.

python -m tests.engines.llama_server    # writes the list anew, from the llama-server on PATH
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from planner.engine_traits.llama_cpp import RELEASE

LIST = Path(__file__).with_name("llama_server_flags.txt")


def known() -> dict[str, bool]:
    """Of the list: flag to whether a value follows it."""
    lines = [line for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {line.split()[0]: line.endswith(" VALUE") for line in lines}


def of_binary(program: str) -> dict[str, bool]:
    """The same of a binary's `--help`."""
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        # Names with a comma and any spaces between them; one space, and what follows them.
        head = re.match(r"(-[\w-]+(?:,\s+-[\w-]+)*)(?: (\S+))?", line)
        if head:
            found |= dict.fromkeys(re.split(r",\s+", head[1]), head[2] is not None)
    return found


def main() -> None:
    flags = of_binary("llama-server")
    lines = [f"{name} VALUE" if value else name for name, value in sorted(flags.items())]
    LIST.write_text(f"# llama-server --help of llama.cpp {RELEASE}\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
