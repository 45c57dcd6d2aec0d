"""What each release of vLLM said to each line: one JSON object a line of `verdicts/RELEASE.jsonl`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.engines.vllm_referee.lines import Line

FOLDER = Path(__file__).parent / "verdicts"


@dataclass(frozen=True)
class Verdict:
    line: Line
    starts: bool
    error: str = ""
    attention: tuple[str, ...] = ()
    """The kernels that it chose or took."""
    cache_tokens: int = 0
    """That the cache holds by vLLM's own count, of requests of the greatest length."""

    def said(self) -> dict:
        """What the judge said, in its own words."""
        if not self.starts:
            return {"starts": False, "error": self.error}
        return {"starts": True, "attention": list(self.attention), "cache_tokens": self.cache_tokens}


def read(folder: Path = FOLDER) -> dict[tuple[str, ...], Verdict]:
    """Returns the verdicts by the kind of line."""
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            line = Line(
                release=path.stem,
                gpu=row["gpu"],
                model=row["model"],
                scheme=row["scheme"],
                args=tuple(row["line"].split()),
                environment=tuple(sorted(row["environment"].items())),
            )
            said = row["verdict"]
            found[line.kind] = Verdict(line=line, **(said | {"attention": tuple(said.get("attention", ()))}))
    return found


def write(verdicts: list[tuple[Line, dict]], folder: Path = FOLDER) -> None:
    folder.mkdir(exist_ok=True)
    for release in sorted({line.release for line, _ in verdicts}):
        rows = [
            {
                "gpu": line.gpu,
                "model": line.model,
                "scheme": line.scheme,
                "environment": dict(line.environment),
                "line": " ".join(line.args),
                "verdict": said,
            }
            for line, said in verdicts
            if line.release == release
        ]
        (folder / f"{release}.jsonl").write_text("".join(sorted(json.dumps(row) + "\n" for row in rows)))
