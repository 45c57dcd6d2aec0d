"""What is said of a change that does not become what it must, and how a stack file is changed."""

import json

import pytest
import yaml

from rehearsal.__main__ import main
from rehearsal.azure.pools import put_pools
from rehearsal.azure.state import StateFile
from rehearsal.changes import Change, Running, changes, names, refresh_and_settle, with_settings
from rehearsal.engine import Outcome
from rehearsal.layout import Layout
from settings import files
from tests.shipped import STACKS

POOL = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/aks/agentPools/gpu"
SCALED = {"vmSize": "Standard_NC24s_v3", "enableAutoScaling": True, "minCount": 1, "maxCount": 3, "count": 1}


class Engine:
    """Answers with these outcomes, one after the other; `does` runs before each. A preview shows what the next one does, or `shows`."""

    def __init__(self, *outcomes, does=lambda: None, shows=None):
        self._outcomes, self._does, self._shows = list(outcomes), does, shows

    def preview(self):
        return self._shows or self._outcomes[0]

    def up(self, name):
        self._does()
        outcome = self._outcomes.pop(0)
        outcome.name = name
        return outcome

    def refresh(self):
        return self.up("refresh")


def outcome(*details, errors=()):
    changed = {"update": len(details)} if details else {}
    return Outcome("", changes=changed, details=list(details), errors=list(errors), failed=bool(errors))


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    layout.project.mkdir(parents=True)
    (layout.project / "Pulumi.yaml").write_text("name: p\n")
    (layout.project / "Pulumi.dev.yaml").write_text("config: {'p:azure': {location: eastus}}\n")
    with StateFile(layout.azure).change() as cloud:
        put_pools(cloud, POOL, SCALED)
    return layout


def make(layout, engine, **change):
    return Running(engine, layout, "dev").make(Change(name="it", settings={"azure.tags.a": "b"}, **change))[1]


def count(layout, nodes):
    with StateFile(layout.azure).change() as cloud:
        cloud.pools[POOL.lower()]["count"] = nodes


def test_the_autoscaler_adds_nodes_before_the_change_and_none_may_be_lost(layout):
    engine = Engine(outcome("update azure-native:x it"), does=lambda: count(layout, 1))
    assert make(layout, engine, becomes="in place", autoscaler=1) == "it must change in place, and it took nodes from gpu"
    assert "tags" in (layout.project / "Pulumi.dev.yaml").read_text()


@pytest.mark.parametrize(
    ("result", "wrong"),
    [
        (outcome("update azure-native:x it"), "it must be refused, and it was taken: update azure-native:x it"),
        (outcome(errors=["no room"]), "it is refused without any of the words azure.tags: no room"),
        (outcome(errors=["azure.tags: no"]), None),
    ],
)
def test_a_refusal_has_the_right_words_and_the_file_is_as_before(layout, result, wrong):
    assert make(layout, Engine(result), becomes="refused", words=("azure.tags",)) == wrong
    assert "tags" not in (layout.project / "Pulumi.dev.yaml").read_text()


def test_a_refusal_half_way_is_none(layout):
    engine = Engine(outcome(errors=["azure.tags: no"]), does=lambda: count(layout, 2))
    assert make(layout, engine, becomes="refused", words=("azure.tags",)) == "it is refused half-way, when these had changed already: nodes"


@pytest.mark.parametrize(
    ("steps", "right"),
    [
        (("create-replacement", "replace", "delete-replaced"), True),
        (("delete-replaced", "replace", "create-replacement"), False),
        ((), False),
    ],
)
def test_a_pool_is_replaced_by_one_that_is_there_first(layout, steps, right):
    made = outcome(*(f"{step} azure-native:containerservice:AgentPool gpu-pool [agentPoolName]" for step in steps))
    assert (make(layout, Engine(made), becomes="replaced after") is None) == right


def test_a_change_of_nothing_is_none(layout):
    """prod had the minimum of nodes that it was to be raised to, and the rehearsal called that a change in place."""
    assert make(layout, Engine(outcome()), becomes="in place") == "it changed nothing: the stack has these settings already"


LISTED = "update azure-native:containerservice:ManagedCluster cluster [agentPoolProfiles[0].name, agentPoolProfiles[1]]"


def test_a_preview_shows_what_is_done_and_nothing_else(layout):
    """A tag's showed a right to replace and four credentials to change, and then nothing of it happened."""
    tagged, alarm = "update azure-native:x it [tags]", "create-replacement azure-native:authorization:RoleAssignment pull [principalId]"
    assert make(layout, Engine(outcome(tagged), shows=outcome("update azure-native:x it [tags, z]")), becomes="in place") is None
    wrong = make(layout, Engine(outcome(tagged), shows=outcome(tagged, alarm)), becomes="in place")
    assert "the preview showed also: create-replacement azure-native:authorization:RoleAssignment pull" in wrong
    wrong = make(layout, Engine(outcome(tagged), shows=outcome()), becomes="in place")
    assert "it did not show: update azure-native:x it" in wrong


@pytest.mark.parametrize(
    ("outcomes", "right"),
    [
        ([outcome()], True),
        ([outcome(LISTED), outcome(LISTED), outcome()], True),
        ([outcome(LISTED), outcome("update azure-native:containerservice:AgentPool gpu-pool [count]"), outcome()], True),
        ([outcome(LISTED), outcome(LISTED), outcome(LISTED)], False),
        ([outcome(LISTED), outcome("update azure-native:containerservice:AgentPool gpu-pool [count, vmSize]")], False),
        ([outcome("update azure-native:containerservice:ManagedCluster cluster [tags]")], False),
    ],
)
def test_a_refresh_may_bring_the_list_of_pools_and_one_update_settles_it(outcomes, right):
    seen = []
    assert (refresh_and_settle(Engine(*outcomes), seen.append) is None) == right
    assert len(seen) == len(outcomes)


def test_a_setting_is_changed_at_its_key_and_nothing_else():
    text = "config: {'p:azure': {location: eastus}}\n"
    changed = yaml.safe_load(with_settings(text, "p", {"azure.tags.a": "b", "sharding.pipelines": 2}))
    assert changed == {"config": {"p:azure": {"location": "eastus", "tags": {"a": "b"}}, "p:sharding": {"pipelines": 2}}}


@pytest.mark.parametrize("stack", STACKS)
def test_every_change_is_one_that_check_takes_by_itself(stack, tmp_path):
    """Only the running stack makes a change wrong; a key that nobody knows would be refused for another reason."""
    text = files.stack_file_path(stack).read_text()
    for change in changes(stack, ["all"]):
        if "kubernetesVersion" in json.dumps(change.settings) and change.becomes == "refused":
            continue
        path = tmp_path / "Pulumi.it.yaml"
        path.write_text(with_settings(text, "zig-ai-aks", change.settings))
        assert files.from_file(path, "it").problems == (), change.name


def test_an_unknown_change_is_answered_with_all_names(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--stack", "dev", "--changes", "tag,nope"])
    assert f"no change 'nope': write all, or some of {', '.join(names())}" in " ".join(capsys.readouterr().err.split())
