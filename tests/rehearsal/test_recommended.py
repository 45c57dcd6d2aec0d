"""What `recommend` says of prod, done: its lines through the engine's own command, and a whole rehearsal of the stack with them."""

import contextlib
import shlex
import subprocess
from collections import Counter

import pytest
import yaml

from planner import plan
from planner.choices import lines
from planner.choices.assessment import assess
from rehearsal.azure import subscription
from rehearsal.layout import REPOSITORY, Layout
from rehearsal.look import look
from rehearsal.run import rehearsed, take_away
from settings import files
from tests.planner.test_recommend import merged
from tests.rehearsal.linked import linked_repository

pytestmark = pytest.mark.engine


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
        switches = [choice for choice in assessment.alternatives if lines.changes(assessment.asked, choice)]
        assert switches
        for choice in switches:
            command = lines.command(assessment.asked, choice, stack)
            subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
            made = plan(files.from_file(file, stack).require())
            assert (made.size.name, made.nodes, made.pipelines) == (choice.size.name, choice.nodes, choice.pipelines)
            assert comments_of(file) == comments
            # The next one is asked of the file as it was.
            file.write_text(files.stack_file_path(stack).read_text())


def test_a_recommended_layout_rehearses_and_is_predicted_to_meet_every_target(tmp_path):
    """Of those for which the rehearsed subscription has quota, the cheapest with as many bits as prod asks for."""
    offered, assessment = subscription.load("default"), advice("prod")
    choice = next(
        choice
        for choice in assessment.found.best(len(assessment.found.choices), 8)
        if choice.nodes * choice.size.vcpus <= offered.family_limit(choice.size.quota_family)
    )
    repository = linked_repository(REPOSITORY, tmp_path)
    file = repository / "Pulumi.prod.yaml"
    document = yaml.safe_load(file.read_text())
    file.unlink()
    pasted = yaml.safe_load(lines.lines(assessment.asked, choice))
    file.write_text(yaml.safe_dump(document | {"config": merged(document["config"], pasted)}))
    layout = Layout.of_stack("prod", repository)
    with contextlib.ExitStack() as exits:
        exits.callback(take_away, layout)
        engine = exits.enter_context(rehearsed(layout, repository, "prod", offered))
        for outcome in (engine.preview(), engine.up(), engine.up("up again")):
            assert not outcome.failed, outcome.errors
        assert not outcome.changed
        seen = look(layout)
        used = [(node.gpus_used, node.gpus) for node in seen.nodes if node.gpus]
        assert len(used) == choice.nodes and sum(count for count, _ in used) == choice.gpus and not seen.not_running
        [outputs] = [item["outputs"] for item in engine.resources() if item["type"] == "pulumi:pulumi:Stack"]
        assert outputs["prediction"]["meets"] is True and outputs["gpuNodes"] == choice.nodes
        said = Counter(verdict["outcome"] for verdict in outputs["prediction"]["verdicts"])
        assert said == {"met": 3, "unknown": 1}
