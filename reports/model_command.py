"""The command `python -m planner model`: a model's `config.json` in the words of a stack file."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_CONFIG, _QUANTIZATION = "config.json", "hf_quant_config.json"
_WAIT_S = 20


class Unreadable(Exception):
    """Why there is no answer, and what to do, in whole sentences."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `model` to the planner's commands."""
    model = commands.add_parser("model", help="print the model.shape of a published config.json, to paste into a stack file")
    model.add_argument("config", metavar="FILE_OR_SOURCE", help="a config.json, its folder, or hf://org/name@COMMIT")
    model.add_argument("--name", help="model.name (default: the repository's or the folder's name in lower case)")


def run(options: argparse.Namespace) -> int:
    """Runs `model`. Returns the exit status: 0 with a shape, 1 where there is none."""
    try:
        print(described(options.config, options.name))
    except Unreadable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def described(asked: str, name: str | None = None) -> str:
    """Returns the lines to paste. Raises Unreadable."""
    from planner.catalogue import config_reader, model_names, model_shapes

    published, files = asked.startswith("hf://"), _files(asked)
    config, quantization = files[_CONFIG], files.get(_QUANTIZATION)
    stem = asked.split("@")[0] if published else str(Path(asked).resolve().parent if Path(asked).is_file() else Path(asked).resolve())
    name = name or stem.rsplit("/", 1)[-1].lower()
    try:
        reading = config_reader.read(name, config, quantization)
    except config_reader.UnknownModel as error:
        raise Unreadable(
            f"{asked}: {error}. A shape that leaves this out would plan another model, so none is printed. vLLM and llama.cpp may serve it "
            "all the same: measure how much memory it takes, and describe a model.shape of the same size"
        ) from error
    known = model_names.spelt(name, model_shapes.models())
    lines = [f"# {reading.architecture}", *(f"# {note}" for note in reading.notes)]
    if known:
        lines.append(f"# The catalogue has {known}: with that name, no shape is needed.")
    return "\n".join([*lines, _yaml(name, asked if published else None, reading.shape)])


def _yaml(name: str, source: str | None, shape: Any) -> str:
    import yaml

    from planner.fit.own_shape import as_settings

    quantization = {"precision": shape.published.precision if shape.published else "bf16"}
    model = {"name": name, **({"source": source} if source else {}), "shape": as_settings(shape), "quantization": quantization}
    return yaml.safe_dump({"model": model}, sort_keys=False, width=120).rstrip()


def _files(asked: str) -> dict[str, Any]:
    if not asked.startswith("hf://"):
        path = Path(asked)
        folder = path if path.is_dir() else path.parent
        found = {_CONFIG: _parsed(asked, _text(folder / _CONFIG if path.is_dir() else path))}
        beside = folder / _QUANTIZATION
        return found | ({_QUANTIZATION: _parsed(str(beside), _text(beside))} if beside.is_file() else {})
    return hub_files(asked)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(
            f"{path}: {getattr(error, 'strerror', None) or 'is no text'}; give a config.json or hf://org/name@COMMIT"
        ) from error


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unreadable(f"{name}: is no JSON ({error}); give the config.json as it was published") from error


def hub_files(source: str) -> dict[str, Any]:
    """Returns `config.json` of a repository on the Hugging Face hub, and `hf_quant_config.json` where it has one. Raises Unreadable."""
    from pydantic_core import PydanticCustomError

    from settings.weight_source import parse

    try:
        parsed = parse(source)
    except PydanticCustomError as error:
        raise Unreadable(f"{source}: {error.message()}") from error
    base = f"https://huggingface.co/{parsed.repository}/resolve/{parsed.commit}"
    files = {_CONFIG: _parsed(source, _fetched(f"{base}/{_CONFIG}"))}
    try:
        return files | {_QUANTIZATION: _parsed(source, _fetched(f"{base}/{_QUANTIZATION}"))}
    except _Missing:
        return files


class _Missing(Unreadable):
    """The repository has no such file."""


def _fetched(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_S) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise _Missing(f"{url}: there is no such file at that commit; a repository of GGUF files has none") from error
        why = "the repository wants an account; download its config.json and give the file" if error.code in (401, 403) else error.reason
        raise Unreadable(f"{url}: {error.code}, {why}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{url}: {error}. Without a network, give the file instead") from error
