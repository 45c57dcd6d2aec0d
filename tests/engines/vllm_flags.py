"""Flags and variables of vLLM's releases, read from their source without running it: importing vLLM needs PyTorch and CUDA.

For each release, unpack its source distribution (vllm on PyPI), and `ray/scripts/scripts.py` of a wheel of Ray:

    python -m tests.engines.vllm_flags vllm-0.17.1 vllm-0.8.5.post1    # writes vllm_flags/0.17.1.txt, vllm_flags/0.8.5.post1.txt
    python -m tests.engines.vllm_flags ray-2.48.0/scripts.py           # writes vllm_flags/ray_start.txt
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field
from pathlib import Path

LISTS = Path(__file__).with_name("vllm_flags")


@dataclass(frozen=True)
class Flag:
    """A flag of a command line: whether a value follows it, and which ones it may be; no choices means any."""

    value: bool
    choices: tuple[str, ...] = ()

    def __str__(self):
        return " VALUE"[: 6 * self.value] + (f" {'|'.join(self.choices)}" if self.choices else "")


def known(release: str) -> tuple[dict[str, Flag], set[str]]:
    """Returns the flags of a release's list, and the variables that the release reads."""
    lines = [line.split() for line in (LISTS / f"{release}.txt").read_text().splitlines() if not line.startswith("#")]
    flags = {name: Flag(bool(rest), tuple(rest[1].split("|")) if rest[1:] else ()) for name, *rest in lines if name.startswith("--")}
    return flags, {name for name, *_ in lines if not name.startswith("--")}


def known_ray() -> set[str]:
    return {line for line in (LISTS / "ray_start.txt").read_text().splitlines() if not line.startswith("#")}


@dataclass
class Source:
    """Those modules of a release that make its command line."""

    root: Path
    trees: list[ast.Module] = field(default_factory=list)

    def __post_init__(self):
        paths = [
            "engine/arg_utils.py",
            "entrypoints/openai/cli_args.py",
            "model_executor/layers/quantization/__init__.py",
            "v1/attention/backends/registry.py",
        ]
        there = [self.root / "vllm" / path for path in paths] + sorted((self.root / "vllm").glob("config*.py"))
        there += sorted((self.root / "vllm" / "config").glob("*.py"))
        self.trees = [ast.parse(path.read_text()) for path in there if path.exists()]

    def classes(self):
        return {node.name: node for tree in self.trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}

    def assigned(self):
        """Names of modules, and what is assigned to them first."""
        found = {}
        for tree in self.trees:
            for node in tree.body:
                if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                    continue
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, node.value)
        return found


def _name(node: ast.expr) -> str:
    assert isinstance(node, ast.Name), ast.dump(node)
    return node.id


def _text(node: ast.expr | None) -> str:
    assert isinstance(node, ast.Constant) and isinstance(node.value, str), node and ast.dump(node)
    return node.value


def fields(source: Source, name: str) -> dict[str, ast.expr]:
    """Annotations of a class and those it inherits from."""
    node = source.classes().get(name)
    if node is None:
        return {}
    found = {}
    for base in node.bases:
        found |= fields(source, getattr(base, "id", ""))
    return found | {_name(item.target): item.annotation for item in node.body if isinstance(item, ast.AnnAssign)}


def names_in(source: Source, node: ast.expr, seen=frozenset()) -> set[str]:
    """All names of a type, with those that aliases stand for."""
    found = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    for name in found - seen:
        if name in source.assigned():
            found |= names_in(source, source.assigned()[name], seen | found)
    return found


def choices_of(source: Source, node: ast.AST | None, seen=frozenset(), by_value=False) -> list[str]:
    """The texts that a `Literal`, a list or an enumeration allows, through aliases; empty where any is."""
    if node is None:
        return []
    if isinstance(node, ast.Name):
        aliased = [] if node.id in seen else choices_of(source, source.assigned().get(node.id), seen | {node.id})
        return aliased + members(source.classes().get(node.id), by_value=by_value)
    by_value = by_value or isinstance(node, ast.ListComp)
    listed = isinstance(node, ast.List) or (isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal")
    found = [one.value for one in ast.walk(node) if listed and isinstance(one, ast.Constant) and isinstance(one.value, str)]
    for child in ast.iter_child_nodes(node):
        found += choices_of(source, child, seen, by_value)
    return found


def members(node: ast.ClassDef | None, *, by_value: bool) -> list[str]:
    if node is None or not any("Enum" in ast.dump(base) for base in [*node.bases, *node.keywords]):
        return []
    assigned = [item for item in node.body if isinstance(item, ast.Assign)]
    return [_text(item.value) if by_value else _name(item.targets[0]) for item in assigned]


def of_type(source: Source, name: str, annotation: ast.expr) -> dict[str, Flag]:
    """Makes a flag of a dataclass's field as get_kwargs in vllm/engine/arg_utils.py does."""
    if "bool" in names_in(source, annotation):
        return {name: Flag(False), f"--no-{name.removeprefix('--')}": Flag(False)}
    literal = {"Literal", "AttentionBackendEnum"} & names_in(source, annotation)
    return {name: Flag(True, tuple(dict.fromkeys(choices_of(source, annotation))) if literal else ())}


def of_call(source: Source, call: ast.Call, configs: dict[str, str]) -> dict[str, Flag]:
    """`add_argument` with its own keywords, or with those of a dataclass's field."""
    names = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.startswith("--")]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    found: dict[str, Flag] = {}
    for name in names:
        of_field = [one for one in ast.walk(call) if isinstance(one, ast.Subscript) and getattr(one.value, "id", "") in configs]
        if of_field:
            class_name, field_name = configs[_name(of_field[0].value)], _text(of_field[0].slice)
            found |= of_type(source, name, fields(source, class_name)[field_name])
        elif "action" in given and "store_true" in ast.dump(given["action"]):
            found[name] = Flag(False)
        elif "action" in given and "Boolean" in ast.dump(given["action"]):
            found |= {name: Flag(False), f"--no-{name.removeprefix('--')}": Flag(False)}
        else:
            found[name] = Flag(True)
        if "choices" in given and found[name].value:
            found[name] = Flag(True, tuple(dict.fromkeys(choices_of(source, given["choices"]))))
    return found


def of_source(root: Path) -> tuple[dict[str, Flag], list[str]]:
    """Flags of `vllm serve`, and the variables of vllm/envs.py."""
    source = Source(root)
    found = {}
    for tree in source.trees:
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            configs = {
                _name(node.targets[0]): _name(node.value.args[0])
                for node in ast.walk(function)
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "get_kwargs"
                if isinstance(node.targets[0], ast.Name)
            }
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
                    found |= of_call(source, call, configs)
    for name, annotation in fields(source, "FrontendArgs").items():
        found |= of_type(source, f"--{name.replace('_', '-')}", annotation)
    variables = ast.parse((root / "vllm" / "envs.py").read_text())
    [table] = [
        node.value
        for node in ast.walk(variables)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
        if getattr(node.targets[0] if isinstance(node, ast.Assign) else node.target, "id", "") == "environment_variables"
    ]
    return found, [_text(key) for key in table.keys]


def ray_of_source(script: Path) -> list[str]:
    """Flags of `ray start`."""
    [start] = [node for node in ast.parse(script.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == "start"]
    options = [one for one in start.decorator_list if isinstance(one, ast.Call) and getattr(one.func, "attr", "") == "option"]
    texts = [name.value for one in options for name in one.args if isinstance(name, ast.Constant) and isinstance(name.value, str)]
    return sorted(text for text in texts if text.startswith("--"))


def main(paths: list[str]) -> None:
    LISTS.mkdir(exist_ok=True)
    for path in map(Path, paths):
        if path.is_file():
            (LISTS / "ray_start.txt").write_text(f"# ray start of {path.parent.name}\n" + "\n".join(ray_of_source(path)) + "\n")
            continue
        release = path.name.removeprefix("vllm-")
        flags, variables = of_source(path)
        lines = [f"{name}{flag}" for name, flag in sorted(flags.items())] + sorted(variables)
        text = f"# vllm serve of vLLM {release}, and the variables it reads: PyPI vllm-{release}.tar.gz\n"
        (LISTS / f"{release}.txt").write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
