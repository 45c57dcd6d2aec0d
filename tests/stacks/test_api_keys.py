"""`python -m stacks api-keys` prints a Secret for kubectl, whose file the coordinator reads; the keys go nowhere else."""

import base64
import io
import json

import pytest

from engines.envoy.access import API_KEYS_FILE
from stacks.__main__ import main

CONFIG = """config:
  zig-ai-aks:engine: llama_cpp
  zig-ai-aks:exposure:
    apiKeys:
      secretName: our-keys
"""


@pytest.fixture
def made(tmp_path, capsys, monkeypatch):
    """Returns a function that runs the command for these clients, with an existing Secret if one is given."""
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(CONFIG)

    def make(*clients, existing=None, warning=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(existing)))
        assert main(["api-keys", "--file", str(file), *(["--keep"] if existing else []), *clients]) == 0
        printed = capsys.readouterr()
        assert printed.err == warning
        return json.loads(printed.out)

    return make


def content(secret):
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def keys(secret):
    """Returns the keys in the coordinator's file, by client."""
    [resource] = json.loads(content(secret)[API_KEYS_FILE])["resources"]
    return {credential["client"]: credential["key"] for credential in resource["typed_config"]["credentials"]}


def test_a_key_for_each_client_and_the_load_test(made):
    secret = made("alice", "bob")
    assert secret["metadata"] == {"name": "our-keys", "namespace": "zig-ai"}
    assert keys(secret).keys() == {"alice", "bob", "load-test"}
    assert {name: content(secret)[name] for name in keys(secret)} == keys(secret), "to be handed out"
    assert all(len(key) == 43 for key in keys(secret).values()) and len(set(keys(secret).values())) == 3


def test_a_client_keeps_its_key_or_loses_it(made):
    """To change a client's key, leave the client out once and then name it again. A key is never removed without a warning."""
    first = made("alice", "bob")
    second = made(
        "alice", "carol", existing=first, warning="not named, so their keys are removed: bob; to keep a key, name its client too\n"
    )
    assert keys(second).keys() == {"alice", "carol", "load-test"} == content(second).keys() - {API_KEYS_FILE}
    assert [keys(second)[name] == keys(first)[name] for name in ("alice", "load-test")] == [True, True]
    assert keys(made("alice"))["alice"] != keys(first)["alice"], "without the existing Secret all keys are new"


@pytest.mark.parametrize("data", [None, {}])
def test_a_secret_that_holds_no_keys_yet(data, made):
    assert keys(made("alice", existing={"kind": "Secret", "data": data})).keys() == {"alice", "load-test"}


NO_SECRET = [
    "[]",
    '{"kind": "List"}',
    *(json.dumps({"kind": "Secret", "data": data}) for data in ({"a": "abc"}, {"a": "/w=="}, {"a": 1}, ["a"])),
]


@pytest.mark.parametrize("given", ["", "not JSON", *NO_SECRET])
def test_input_that_is_no_secret_is_refused_in_one_line(given, tmp_path, capsys, monkeypatch):
    (tmp_path / "Pulumi.prod.yaml").write_text(CONFIG)
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert main(["api-keys", "--file", str(tmp_path / "Pulumi.prod.yaml"), "--keep", "alice"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("--keep reads a Secret as JSON: kubectl get secret")


def test_a_stack_that_requires_no_keys_is_refused_with_the_setting(tmp_path, capsys):
    (tmp_path / "Pulumi.prod.yaml").write_text("config: {}\n")
    assert main(["api-keys", "--file", str(tmp_path / "Pulumi.prod.yaml"), "alice"]) == 1
    assert capsys.readouterr().err == "Pulumi.prod.yaml requires no API keys: set exposure.apiKeys.secretName first\n"


@pytest.mark.parametrize("name", ["Alice", "a b", "-a", "", "api-keys.json", "x" * 64])
def test_an_invalid_client_name_is_a_wrong_call(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["api-keys", "--stack", "dev", "--", name])
    assert ended.value.code == 2
    assert "is not a valid name for a client" in capsys.readouterr().err
