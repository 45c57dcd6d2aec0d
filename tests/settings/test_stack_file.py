"""Faults of the file around the sections, which Pulumi would refuse or ignore, each with its line."""

import json

import pytest

from settings.stack_file import open_stack_file

PROJECT = "zig-ai-aks"


def opened(directory, text):
    file = directory / "Pulumi.prod.yaml"
    file.write_text(text)
    return open_stack_file(file, PROJECT)


def problems_of(read):
    return [(problem.key, problem.value, problem.consequence, problem.fix) for problem in read.problems]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "config:\n  zig-ai-aks:shard: {}\n  zig-ai-aks:model: {}\n  zig-ai-aks:shard: {}\n",
            (
                "shard",
                "lines 2 and 4",
                "occurs twice in the file, so Pulumi refuses to read it",
                "one zig-ai-aks:shard with the contents of both",
            ),
        ),
        (
            "config:\n  zig-ai-aks:shard: {}\n  zig-ai-aks:shard: {}\n  zig-ai-aks:shard: {}\n",
            (
                "shard",
                "lines 2, 3 and 4",
                "occurs 3 times in the file, so Pulumi refuses to read it",
                "one zig-ai-aks:shard with the contents of all of them",
            ),
        ),
        (
            "config:\n  zig-ai-aks:shard:\n    config:\n      ioThreads: 8\n      ioThreads: 9\n",
            ("shard.config.ioThreads", "lines 4 and 5", "occurs twice in the file, so Pulumi refuses to read it", "keep one of the two"),
        ),
        (
            "config:\n  shard: {}\n",
            ("config.shard", "", "lacks the project's name in front of it, so Pulumi refuses to read the file", "zig-ai-aks:shard:"),
        ),
        (
            "config:\n  zig_ai_aks:shard: {}\n  kubernetes:cluster: mine\n",
            ("zig_ai_aks:shard", "", "belongs to another project, zig_ai_aks, so it would have no effect here", "zig-ai-aks:shard:"),
        ),
        (
            "zig-ai-aks:shard: {}\n",
            ("zig-ai-aks:shard", "", "is outside config:, where Pulumi ignores it", "indent it below config:"),
        ),
        ("confg: {}\n", ("confg", "", "is not part of a stack file, so it would have no effect", "did you mean config?")),
        ("- config\n", ("Pulumi.prod.yaml", "", "contains a list or text where keys are expected", "config: with the sections below it")),
        ("config: []\n", ("config", "", "contains a list or text where sections are expected", "zig-ai-aks:shard: and others below it")),
        (
            "config:\n  zig-ai-aks:azure: {tags: {since: 2026-11-24}}\n",
            ("azure.tags.since", "", "is a date in YAML, which Pulumi would rewrite with a time and a time zone", "put it in quotes"),
        ),
        ("config:\n\tx: 1\n", ("Pulumi.prod.yaml:2", "", "is indented with a tab, which YAML does not allow", "indent with spaces")),
    ],
)
def test_a_fault_of_the_file_itself_is_reported_in_these_words(tmp_path, text, says):
    assert problems_of(opened(tmp_path, text)) == [says]


def test_a_file_that_is_not_utf8_is_a_problem(tmp_path):
    (tmp_path / "Pulumi.prod.yaml").write_bytes(b"config: \xff\xfe")
    assert problems_of(open_stack_file(tmp_path / "Pulumi.prod.yaml", PROJECT)) == [
        ("Pulumi.prod.yaml", "", "is not UTF-8 text (byte 8)", "the file saved as UTF-8")
    ]


def test_a_file_above_one_mebibyte_is_a_problem(tmp_path):
    assert problems_of(opened(tmp_path, "#" * (1024 * 1024 + 1)))[0][2] == "is larger than 1 MiB, which no stack file is"


def test_a_missing_file_is_answered_with_the_existing_stacks(tmp_path):
    (tmp_path / "Pulumi.prod.yaml").touch()
    (tmp_path / "Pulumi.eu.west.yaml").touch()
    assert problems_of(open_stack_file(tmp_path / "Pulumi.dev.yaml", PROJECT)) == [
        ("Pulumi.dev.yaml", "", "does not exist, so there is no such stack here", "one of the existing stacks: eu.west, prod")
    ]


def test_a_directory_in_place_of_the_file_is_a_problem(tmp_path):
    assert problems_of(open_stack_file(tmp_path, PROJECT))[0][2].startswith("cannot be read:")


def test_what_the_engine_keeps_beside_the_sections(tmp_path):
    text = (
        "encryptionsalt: v1:abc\nsecretsprovider: azurekeyvault://x\nconfig:\n"
        "  azure-native:location: eastus\n  zig-ai-aks:config:engine: zig_ai\n  zig-ai-aks:sharding: {shardsCount: 2}\n"
    )
    read = opened(tmp_path, text)
    assert read.problems == ()
    assert {name: text if name == "engine" else json.loads(text) for name, text in read.sections.items()} == {
        "engine": "zig_ai",
        "sharding": {"shardsCount": 2},
    }


@pytest.mark.parametrize("text", ["", "config:\n", "config: {}\n", "# nothing\n"])
def test_empty_file_is_all_defaults(tmp_path, text):
    read = opened(tmp_path, text)
    assert (read.problems, read.sections) == ((), {})


def test_line_of_a_problem(tmp_path):
    read = opened(tmp_path, "config:\n  zig-ai-aks:shard:\n    env:\n      - name: A\n        value: b\n")
    assert read.line_of("shard.env[0].value") == 5
    assert read.line_of("shard.env.A") == 4
    assert read.line_of("shard.env[0].valueFrom") == 4
    assert read.line_of("shard.resources.requests.nvidia.com/gpu") == 2
    assert read.line_of("budget") is None
