"""Whatever stands in a stack file, the answer is settings or a SettingsError: never a traceback, never a hang."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settings import SettingsError, StackSettings, load
from settings.error_messages import keys_of
from settings.files import PROJECT, ROOT
from settings.loading import check
from settings.stack_file import open_stack_file

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["64Gi", "-5s", "90%", "secure"])
KEYS = st.sampled_from(["config", "resources", "requests", "env", "name", "value", "zones", "network", "secure"]) | st.text(max_size=8)
GARBAGE = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)
PROD = {name: json.loads(text) for name, text in open_stack_file(ROOT / "Pulumi.prod.yaml", PROJECT).sections.items()}
SLOW = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=200)


def as_text(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content)


def survives(raw: dict[str, str]) -> None:
    try:
        assert isinstance(load(raw, stack="prod"), StackSettings)
    except SettingsError as error:
        assert str(error)
        assert all(problem.key and problem.consequence and problem.fix for problem in error.problems)
        assert len(str(error)) < 100_000


@SLOW
@given(
    st.dictionaries(st.sampled_from(keys_of(StackSettings)) | st.text(max_size=8), st.text(max_size=30) | GARBAGE.map(as_text), max_size=4)
)
def test_garbage_in_sections_becomes_problems_and_never_a_traceback(raw):
    if not check(raw).encrypted:
        survives(raw)


def places(content: object, path: tuple[int | str, ...] = ()) -> list[tuple[int | str, ...]]:
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for part, child in children for place in places(child, (*path, part)))]


PLACES = [place for place in places(PROD) if place]


@SLOW
@given(st.sampled_from(PLACES), GARBAGE)
def test_garbage_anywhere_in_prod(place, garbage):
    raw = json.loads(json.dumps(PROD))
    parent = raw
    for part in place[:-1]:
        parent = parent[part]
    parent[place[-1]] = garbage
    texts = {name: as_text(section) for name, section in raw.items()}
    if not check(texts).encrypted:
        survives(texts)


@SLOW
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"config:\n  zig-ai-aks:shard: {text}".encode(errors="replace")))
def test_a_file_of_garbage_becomes_problems_and_never_a_traceback(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "Pulumi.garbage.yaml"
    file.write_bytes(data)
    read = open_stack_file(file, PROJECT)
    result = check(read.sections)
    assert read.problems or result.problems or result.settings or result.encrypted
