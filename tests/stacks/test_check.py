"""`python -m stacks check` as a user meets it: one line or a listing, an exit status, no traceback, no engine."""

import json
import re
import subprocess
import sys

import pytest

import planner.__main__ as planner
from settings.files import ROOT
from stacks.__main__ import main
from tests.settings.guide_blocks import BLOCKS, content
from tests.settings.test_bad_settings import TABLE
from tests.shipped import STACKS


def write(directory, text, stack="prod"):
    file = directory / f"Pulumi.{stack}.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("stack", STACKS)
def test_shipped_stacks_have_no_problems(stack, capsys):
    assert main(["check", "--stack", stack]) == 0
    printed = capsys.readouterr()
    assert re.fullmatch(rf"Pulumi\.{stack}\.yaml: \d+ settings in \d+ sections, no problems\n", printed.out)
    assert printed.err == ""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.stem)
def test_a_block_of_the_guide_alone_has_no_problems(block, tmp_path, capsys):
    sections = "".join(f"  zig-ai-aks:{name}: {json.dumps(section)}\n" for name, section in content(block).items())
    assert main(["check", "--file", str(write(tmp_path, f"config:\n{sections}"))]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad["what"])
def test_check_prints_the_words_of_each_bad_setting(bad, tmp_path, capsys):
    file = write(tmp_path, "config:\n" + "".join(f"  zig-ai-aks:{line}\n" for line in bad["config"].splitlines()))

    assert main(["check", "--file", str(file)]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    without_lines = re.sub(r"(?m)^Pulumi\.prod\.yaml:\d+: ", "", printed.err)
    assert bad["says"] in without_lines


def test_listing_has_the_lines(tmp_path, capsys):
    file = write(
        tmp_path,
        "config:\n"
        "  zig-ai-aks:exposure:\n    public: true\n"
        "  zig-ai-aks:shard:\n    config:\n      gpuMemoryFraction: 1.5\n      networkTimeout: -5s\n",
    )
    main(["check", "--file", str(file)])
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("Pulumi.")] == [
        "Pulumi.prod.yaml: 3 problems",
        "Pulumi.prod.yaml:3: exposure.public: true",
        "Pulumi.prod.yaml:6: shard.config.gpuMemoryFraction: 1.5",
        'Pulumi.prod.yaml:7: shard.config.networkTimeout: "-5s"',
    ]


def test_section_twice(tmp_path, capsys):
    """Pasting the guide's next `shard:` block as it stands is the first thing that goes wrong."""
    file = write(tmp_path, "config:\n  zig-ai-aks:shard:\n    config:\n      ioThreads: 0\n  zig-ai-aks:shard:\n    env: []\n")
    assert main(["check", "--file", str(file)]) == 1
    printed = capsys.readouterr().err
    assert "shard: lines 2 and 5\n    occurs twice in the file" in printed
    assert "shard.config.ioThreads: 0" in printed


def test_what_only_the_planner_knows_joins_the_listing(tmp_path, capsys):
    file = write(tmp_path, "config:\n  zig-ai-aks:gpuPool:\n    vmSize: Standard_NC24_v9\n")
    assert main(["check", "--file", str(file)]) == 1
    assert "Pulumi.prod.yaml:3: gpuPool.vmSize: Standard_NC24_v9" in capsys.readouterr().err


def test_missing_stack_file(capsys):
    assert main(["check", "--stack", "pro"]) == 1
    printed = capsys.readouterr().err
    assert "Pulumi.pro.yaml\n    does not exist" in printed
    assert re.search(r"fix: one of the existing stacks: .*dev.*, prod", printed)


def test_qualified_stack_name(capsys):
    assert main(["check", "--stack", "organization/zig-ai-aks/prod"]) == 0


def test_encrypted_value_is_said_to_be_unchecked(tmp_path, capsys):
    file = write(tmp_path, "encryptionsalt: v1:x\nconfig:\n  zig-ai-aks:budget:\n    alertEmails:\n      - secure: AAABAKvbN9\n")
    assert main(["check", "--file", str(file)]) == 0
    assert capsys.readouterr().out.endswith("no problems (not checked, because only Pulumi can decrypt it: budget.alertEmails[0])\n")


@pytest.mark.parametrize("command", [planner.main, main], ids=["plan", "explain"])
def test_who_needs_an_encrypted_value_says_which(command, tmp_path, capsys):
    file = write(tmp_path, "encryptionsalt: v1:x\nconfig:\n  zig-ai-aks:budget:\n    alertEmails:\n      - secure: AAABAKvbN9\n")
    assert command(["explain" if command is main else "plan", "--file", str(file)]) == 1
    assert "budget.alertEmails[0]: an encrypted value\n    only Pulumi can decrypt it" in capsys.readouterr().err


def test_json_gives_each_problem_with_its_line(tmp_path, capsys):
    file = write(tmp_path, "config:\n  zig-ai-aks:exposure:\n    public: true\n")
    assert main(["check", "--file", str(file), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["settings"], result["sections"]) == (1, 1)
    (problem,) = result["problems"]
    assert (problem["key"], problem["value"], problem["line"]) == ("exposure.public", "true", 3)
    assert problem["consequence"] and problem["fix"]


@pytest.mark.parametrize("arguments", [[], ["check"], ["chek"], ["check", "--stack"], ["check", "--frobnicate"]])
def test_a_wrong_call_ends_with_status_2_and_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: python -m stacks" in capsys.readouterr().err


def test_prints_the_schema(capsys):
    assert main(["schema"]) == 0
    assert "zig-ai-aks:shard" in json.loads(capsys.readouterr().out)["properties"]["config"]["properties"]


@pytest.mark.process
def test_needs_no_engine():
    """Imports that are measured in seconds would keep it out of every editor and hook."""
    program = (
        "import sys; from stacks.__main__ import main; status = main(['check', '--stack', 'prod']);"
        "sys.exit(f'imported: {slow}' if (slow := [m for m in sys.modules if m.split('.')[0].startswith('pulumi')]) else status)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.process
def test_runs_as_a_module(tmp_path):
    file = write(tmp_path, "config:\n  zig-ai-aks:exposure: null\n")
    ran = subprocess.run([sys.executable, "-m", "stacks", "check", "--file", str(file)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.startswith("Pulumi.prod.yaml: 1 problem\n\nPulumi.prod.yaml:2: exposure: null\n")
    assert "Traceback" not in ran.stderr


def test_names_that_the_catalogue_does_not_know_are_in_the_same_listing(tmp_path, capsys):
    file = write(tmp_path, "config:\n  zig-ai-aks:shard: {config: {ioThreds: 1}}\n  zig-ai-aks:gpuPool: {vmSize: Standard_NC24s}\n")
    assert main(["check", "--file", str(file)]) == 1
    said = capsys.readouterr().err
    assert "2 problems" in said and "did you mean ioThreads?" in said and "did you mean Standard_NC24s_v3?" in said
