"""What the pages of this repository say: their texts, the commands in them, and the outputs that they show."""

import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    {
        str(page.relative_to(REPOSITORY))
        for page in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("[a-z]*/**/README.md"))
    }
)
# A command stands in code, on an indented line, after a prompt or behind a pipe.
_COMMAND = re.compile(r"(?m)(?:^ {4}|`|\$ |\| )((?:make|(?:\.venv/bin/)?python3? -m|uv run --script) [^`\n|#]+)")


def text(page: str) -> str:
    """Returns a page, in which a line that continues on the next one is one line."""
    return re.sub(r"\\\n\s*", "", (REPOSITORY / page).read_text())


def commands(page: str) -> list[list[str]]:
    """Returns the words of each command of this project in a page."""
    return [found.split() for found in _COMMAND.findall(text(page))]


def outputs(page: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yields each block of output with the command that stands last before it, or in its first line."""
    whole = text(page)
    for block in re.finditer(r"(?ms)^```text\n(.*?)^```", whole):
        lines = block[1].splitlines()
        if lines[0].startswith("$ "):
            yield lines[0].removeprefix("$ ").split(), lines[1:]
        elif before := _COMMAND.findall(whole[: block.start()]):
            yield before[-1].split(), lines
