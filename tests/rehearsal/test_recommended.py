"""Applies what `recommend` says about prod: its lines by Pulumi's own command, and a whole rehearsal of the stack with them."""

import contextlib
import re
import shlex
import subprocess
import textwrap

import pytest
import yaml

from planner import plan
from planner.__main__ import main
from planner.recommend.assessment import ALTERNATIVES, assess
from rehearsal.azure import subscription
from rehearsal.layout import REPOSITORY, Layout
from rehearsal.look import look
from rehearsal.run import rehearsed, take_away
from reports import yaml_switch
from settings import files
from tests.planner.recommend.searched import merged
from tests.rehearsal.linked import linked_repository

pytestmark = pytest.mark.process


def advice(stack):
    return assess(files.from_file(files.stack_file_path(stack), stack).require())


def comments_of(file):
    return [line.strip() for line in file.read_text().splitlines() if line.strip().startswith("#")]


@pytest.mark.parametrize("stack", ["prod", "dev"])
def test_the_engines_own_command_switches_a_stack(stack, tmp_path):
    """The file keeps its comments, and plans as the layout says."""
    file = tmp_path / f"Pulumi.{stack}.yaml"
    file.write_text(files.stack_file_path(stack).read_text())
    (tmp_path / "Pulumi.yaml").write_text((REPOSITORY / "Pulumi.yaml").read_text())
    (tmp_path / "state").mkdir()
    environment = {"PULUMI_BACKEND_URL": f"file://{tmp_path}/state", "PULUMI_CONFIG_PASSPHRASE": "", "PULUMI_HOME": f"{tmp_path}/home"}
    comments = comments_of(file)
    assessment = advice(stack)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        subprocess.run(["pulumi", "stack", "init", stack], cwd=tmp_path, check=True, capture_output=True)
        switches = [choice for choice in assessment.alternatives if yaml_switch.changes(assessment.asked, choice)]
        assert switches
        for choice in switches:
            command = yaml_switch.command(assessment.asked, choice, stack)
            subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
            made = plan(files.from_file(file, stack).require())
            assert (made.size.name, made.nodes, made.pipelines) == (choice.size.name, choice.nodes, choice.pipelines)
            assert comments_of(file) == comments
            # The next one is asked of the file as it was.
            file.write_text(files.stack_file_path(stack).read_text())


def printed(command, stack, capsys):
    """Returns what is printed below each numbered alternative: the quota and the lines to paste."""
    assert main([command, "--stack", stack]) == 0
    blocks = re.findall(r"^\d\. .+\n(  quota needed: .+\n)?((?:  zig-ai-aks:.+\n)*)", capsys.readouterr().out, re.MULTILINE)
    assert len(blocks) == ALTERNATIVES
    return [(quota, textwrap.dedent(pasted)) for quota, pasted in blocks]


class Pasted:
    """A rehearsed stack into whose file lines are pasted, each time as the file was."""

    def __init__(self, engine, layout, stack):
        self.engine, self.layout = engine, layout
        self._file = layout.project / f"Pulumi.{stack}.yaml"
        self._document = yaml.safe_load(self._file.read_text())

    def paste(self, text):
        config = merged(self._document["config"], yaml.safe_load(text) or {})
        self._file.write_text(yaml.safe_dump(self._document | {"config": config}))


@contextlib.contextmanager
def rehearsal(stack, folder, offered):
    repository = linked_repository(REPOSITORY, folder)
    layout = Layout.of_stack(stack, repository)
    with contextlib.ExitStack() as exits:
        exits.callback(take_away, layout)
        engine = exits.enter_context(rehearsed(layout, repository, stack, subscription.load(offered)))
        yield Pasted(engine, layout, stack)


@pytest.mark.parametrize("stack", ["prod", "dev"])
def test_what_is_printed_can_be_pasted_and_is_predicted_to_meet_every_target(stack, tmp_path, capsys):
    """Each alternative of `recommend`, which are those of `plan`: the engine, the preflight and the planner take it."""
    alternatives = printed("recommend", stack, capsys)
    assert alternatives == printed("plan", stack, capsys)
    with rehearsal(stack, tmp_path, "granted") as there:
        for _, text in alternatives:
            there.paste(text)
            outcome = there.engine.preview()
            assert not outcome.failed and outcome.changes["create"] > 50, (text, outcome.errors)
            [judged] = [note for note in outcome.notes if note.startswith("Targets: ")]
            assert judged.startswith("Targets: latency met, throughputRps met, gpuUtilization met, gpuMemory met. "), (text, judged)


def test_quota_is_told_before_azure_refuses_for_want_of_it(tmp_path, capsys):
    needed = {}
    for quota, text in printed("recommend", "prod", capsys):
        [(vcpus, family)] = re.findall(r"quota needed: ([\d,]+) vCPUs of (.+) in eastus ", quota)
        needed[int(vcpus.replace(",", "")), family] = text
    (vcpus, family), text = max(needed.items())
    assert vcpus > subscription.load("default").family_limit(family)
    with rehearsal("prod", tmp_path, "default") as there:
        there.paste(text)
        refused = there.engine.preview()
        assert refused.failed and f"need {vcpus} vCPUs of quota {family} in eastus" in " ".join(refused.errors), refused.errors


def test_the_cheapest_layout_rehearses(tmp_path, capsys):
    choice = advice("prod").alternatives[0]
    with rehearsal("prod", tmp_path, "granted") as there:
        there.paste(printed("recommend", "prod", capsys)[0][1])
        for outcome in (there.engine.up(), there.engine.up("up again")):
            assert not outcome.failed, outcome.errors
        assert not outcome.changed
        seen = look(there.layout)
        used = [(node.gpus_used, node.gpus) for node in seen.nodes if node.gpus]
        assert len(used) == choice.nodes and sum(count for count, _ in used) == choice.gpus and not seen.not_running
        [outputs] = [item["outputs"] for item in there.engine.resources() if item["type"] == "pulumi:pulumi:Stack"]
        assert outputs["prediction"]["meets"] is True and outputs["gpuNodes"] == choice.nodes
        assert [verdict["outcome"] for verdict in outputs["prediction"]["verdicts"]] == ["met"] * 4
