"""The running program reads the same settings as `check`, and its problems end it with one listing."""

import pulumi
import pytest

from settings import Problem, SettingsError
from stacks import config


@pytest.fixture
def engine(monkeypatch):
    """Hands the program its configuration as the language host does."""
    monkeypatch.setattr(pulumi, "get_project", lambda: "zig-ai-aks")
    monkeypatch.setattr(pulumi, "get_stack", lambda: "test")
    yield lambda texts, secret=(): pulumi.runtime.set_all_config(texts, list(secret))
    pulumi.runtime.set_all_config({}, [])


def test_reads_our_sections_only(engine):
    engine({"zig-ai-aks:sharding": '{"shardsCount": 4}', "zig-ai-aks:engine": "zig_ai", "azure-native:location": "eastus"})
    assert config.from_program().sharding.shards_count == 4


def test_finds_sections_that_nothing_asks_for(engine):
    engine({"zig-ai-aks:shrad": "{}"})
    with pytest.raises(SettingsError, match="did you mean shard"):
        config.from_program()


def test_finds_sections_of_a_project_that_is_misspelt(engine):
    """The engine hands them over as another project's; nobody would ever read them."""
    engine({"zig-ai:shard": "{}", "zig-ai-aks:shrad": "{}", "kubernetes:cluster": "mine"})
    with pytest.raises(SettingsError, match=r"(?s)2 problems.*zig-ai:shard.*fix: zig-ai-aks:shard:.*did you mean shard"):
        config.from_program()


def test_names_that_the_catalogue_does_not_know_are_in_the_same_listing(engine):
    """Not of a section that cannot be read: its defaults are nobody's."""
    engine(
        {
            "zig-ai-aks:shard": '{"config": {"ioThreds": 1}}',
            "zig-ai-aks:model": '{"name": "gpt-9"}',
            "zig-ai-aks:gpuPool": '{"vmSize": 1}',
            "zig-ai-aks:azure": '{"location": "eastus9"}',
        }
    )
    with pytest.raises(SettingsError) as raised:
        config.from_program()
    assert {problem.key for problem in raised.value.problems} == {"shard.config.ioThreds", "model.name", "gpuPool.vmSize", "azure.location"}
    assert "text" in str(raised.value) and "not in the catalogue" in str(raised.value)


def test_checks_names_with_the_stacks_name(engine):
    engine({"zig-ai-aks:azure": '{"namePrefix": "a-very-long-name-of-ours"}'})
    with pytest.raises(SettingsError, match="with the stack's name, test, it has"):
        config.from_program()


def test_decrypted_values_are_read_but_never_shown(engine):
    texts = {"zig-ai-aks:budget": '{"monthlyUsd": 5, "alertEmails": ["ops@contoso.com"]}'}
    engine(texts, secret=texts)
    assert config.from_program().budget.alert_emails == ("ops@contoso.com",)

    wrong = {"zig-ai-aks:budget": '{"alertEmails": ["hunter2"]}'}
    engine(wrong, secret=wrong)
    with pytest.raises(SettingsError) as raised:
        config.from_program()
    assert "hunter2" not in str(raised.value)


def test_stop_logs_the_listing_once_and_tells_the_host_so(monkeypatch):
    """With another exit status the host adds "an unhandled error occurred" below the listing."""
    logged = []
    monkeypatch.setattr(pulumi.log, "error", logged.append)
    with pytest.raises(SystemExit) as raised:
        config.stop(SettingsError([Problem(key="a.b", value="1", consequence="c", fix="d")]))
    assert raised.value.code == 32
    assert logged == ["1 problem in the settings; nothing was created or changed\n\na.b: 1\n    c\n    fix: d"]
