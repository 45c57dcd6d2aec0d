"""`python -m planner recommend`: text and JSON, the lines that switch a stack, what it refuses."""

import json

import pytest

from planner.__main__ import main
from reports import yaml_switch
from tests.planner.recommend.searched import STACKS, found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--region", "eastsu"], "--region: eastsu\n    is not a region of the price list\n    fix: did you mean eastus?"),
        (["--region", "moon"], "one of eastus"),
        (["--stack", "pro"], "does not exist"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, says, capsys):
    assert main(["recommend", *arguments]) == 1
    printed = capsys.readouterr()
    assert says in printed.err and not printed.out


def test_an_unknown_model_is_refused(capsys, tmp_path):
    path = tmp_path / "Pulumi.new.yaml"
    path.write_text("config:\n  zig-ai-aks:model: {name: llama-2-70}\n")
    assert main(["recommend", "--file", str(path)]) == 1
    assert "the catalogue has llama-2-70b, " in capsys.readouterr().err


def test_text_and_json_say_the_same(capsys):
    assert main(["recommend", "--stack", "prod", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["recommend", "--stack", "prod", "--all"]) == 0
    text = capsys.readouterr().out
    assert len(told["layouts"]) == len(found("prod").result.choices)
    for layout, choice in zip(told["layouts"], found("prod").result.choices, strict=True):
        assert f"{choice.usd_per_hour:,.2f}" in text and layout["usd_per_hour"] == pytest.approx(choice.usd_per_hour, abs=0.001)
        assert layout["vm_size"] in text
        assert {one["key"] for one in layout["verdicts"]} == {
            "targets.latency", "targets.throughputRps", "targets.gpuUtilization", "targets.gpuMemory"
        }  # fmt: skip
    assert told["deployed"]["verdicts"][0]["outcome"] == "missed"
    for reason, count in told["rejected"].items():
        assert f"{count:,}  {reason}" in text
    assert "zig_ai itself was not measured" in text
    assert told["layouts"][0]["prediction"]["extrapolated"] is True


def test_plan_prints_verdicts_and_alternatives(capsys):
    assert main(["plan", "--stack", "prod", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["outcome"] for one in told["targets"]["verdicts"]] == ["missed", "missed", "met", "met"]
    assert told["targets"]["prediction"]["floor_s"] == pytest.approx(8.2, abs=0.05)
    assert len(told["alternatives"]) == 3
    assert main(["plan", "--stack", "prod"]) == 0
    text = capsys.readouterr().out
    assert "8.2 s at best" in text and told["alternatives"][0]["yaml"].splitlines()[0] in text


def test_lines_hold_only_what_differs():
    own = STACKS["dev"].gpu_pool.vm_size
    same = next(choice for choice in found("dev").result.choices if (choice.size.name, choice.precision) == (own, "int8"))
    assert yaml_switch.lines(STACKS["dev"], same) == ""
    command = yaml_switch.command(STACKS["prod"], found("prod").alternatives[0], "prod")
    assert command.startswith("pulumi config set-all --stack prod --path --plaintext 'gpuPool.vmSize=")
    assert '\'shard.resources.limits["nvidia.com/gpu"]=' in command
