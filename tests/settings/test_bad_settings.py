"""Every bad setting is reported with its full key, its value, the consequence and the fix; bad_settings.yaml has the texts."""

import json
from pathlib import Path

import pytest
import yaml

from settings import Problem, SettingsError, load
from settings.stack_file import open_stack_file

TABLE = yaml.safe_load((Path(__file__).parent / "bad_settings.yaml").read_text())


def sections(config: str, directory: Path) -> dict[str, str]:
    file = directory / "Pulumi.prod.yaml"
    file.write_text("config:\n" + "".join(f"  zig-ai-aks:{line}\n" for line in config.splitlines()))
    read = open_stack_file(file, "zig-ai-aks")
    assert not read.problems
    return read.sections


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad["what"])
def test_a_bad_setting_is_reported_in_exactly_these_words(bad, tmp_path):
    with pytest.raises(SettingsError) as raised:
        load(sections(bad["config"], tmp_path), stack="prod")
    assert "\n\n".join(map(str, raised.value.problems)) == bad["says"]


def test_all_problems_of_all_sections_come_at_once():
    with pytest.raises(SettingsError) as raised:
        load({"exposure": '{"public": true}', "model": "null", "shard": '{"config": {"ioThreads": 0, "threadPining": true}}'})
    assert [problem.key for problem in raised.value.problems] == [
        "shard.config.ioThreads",
        "shard.config.threadPining",
        "model",
        "exposure.public",
    ]
    assert str(raised.value).startswith("4 problems in the settings; nothing was created or changed\n\nshard.config.ioThreads: 0\n")


def test_a_section_with_an_error_keeps_its_rules_from_guessing():
    """With the default coordinator in place of the one that cannot be read, the cache would look too large for it."""
    with pytest.raises(SettingsError) as raised:
        load({"coordinator": '{"replicas": 0}', "caching": '{"l1Cache": {"size": "20Gi"}}'})
    assert [problem.key for problem in raised.value.problems] == ["coordinator.replicas"]


@pytest.mark.parametrize(
    ("section", "content"),
    [
        ("shard", {"env": [{"name": "HF_TOKEN", "value": "hunter2-hunter2"}]}),
        ("shard", {"env": [{"name": "HF_TOKEN", "valeu": "hunter2-hunter2"}]}),
        ("shard", {"hfToken": "hunter2-hunter2"}),
        ("shard", {"env": "hunter2-hunter2"}),
        ("shard", {"nodeSelector": {"api-key": "hunter2-hunter2!"}}),
        ("hubPassword", "hunter2-hunter2"),
        ("azure", {"location": "https://me:hunter2-hunter2@example.com"}),
    ],
)
def test_no_message_repeats_a_credential(section, content):
    with pytest.raises(SettingsError) as raised:
        load({section: content if isinstance(content, str) else json.dumps(content)})
    assert "hunter2" not in str(raised.value)


def test_no_message_repeats_a_value_of_an_encrypted_section():
    with pytest.raises(SettingsError) as raised:
        load({"azure": '{"network": {"podCidr": "hunter2"}, "location": "hunter2 "}'}, encrypted={"azure"})
    assert "azure.network.podCidr: (not shown)" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"config": {"ioThreads": 8, "ioThreads": 9}}', "shard\n    contains ioThreads twice: only one of the two would take effect"),
        ('{"a":' * 40 + "1" + "}" * 40, "shard.a.a.a: ...\n    is nested more than 32 levels deep, which no setting is"),
        ('{"a":' * 100_000, "shard: 700 002 bytes"),
        ("[" * 50_000, "shard: "),
        ('{"config": {"memoryAllocator": "\\ud800"}}', "shard.config.memoryAllocator\n    is not valid Unicode text"),
        ('{"config": {"ioThreads": ' + "9" * 5000 + "}}", "shard: "),
        ("", "shard: null\n    is empty where a block of keys is expected"),
    ],
)
def test_hostile_text_of_a_section(text, says):
    with pytest.raises(SettingsError) as raised:
        load({"shard": text})
    assert says in str(raised.value)
    assert len(str(raised.value)) < 2000


def test_problems_of_other_layers_join_the_listing():
    """The planner and the preflight raise the same error."""
    problem = Problem(key="gpuPool.vmSize", value="Standard_X", consequence="its GPUs are unknown", fix="one of ...")
    assert str(SettingsError([problem])) == (
        "1 problem in the settings; nothing was created or changed\n\n"
        "gpuPool.vmSize: Standard_X\n    its GPUs are unknown\n    fix: one of ..."
    )
