"""`python -m stacks explain` as a user meets it, and that it, the plan and the preview say the same."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from infra.registration import registration
from planner import plan as make_plan
from planner.engine_facts import NAMES
from reports import preview
from reports.outcomes import ORDER, counts, outcomes
from settings import files
from settings.files import ROOT
from settings.flatten import leaves
from stacks.__main__ import main
from tests.infra import variations
from tests.settings import guide_blocks


@pytest.fixture(scope="module")
def asked():
    return files.from_file(files.stack_file_path("prod"), "prod").require()


@pytest.fixture(scope="module")
def plan(asked):
    return make_plan(asked)


@pytest.fixture(scope="module")
def rows(asked, plan):
    return outcomes(asked, registration(plan, "prod"))


def explained(capsys, *arguments):
    assert main(["explain", *arguments, "--stack", "prod"]) == 0
    return capsys.readouterr().out


def test_each_setting_has_exactly_one_row(asked, rows):
    assert [row.key for row in rows] == list(leaves(asked))
    assert {row.outcome for row in rows} <= set(ORDER) - {"error"}
    assert sum(counts(rows).values()) == len(rows)


SMALL_STACKS = {"nothing": {}} | {block.stem: guide_blocks.content(block) for block in guide_blocks.BLOCKS}


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("name", SMALL_STACKS)
def test_a_stack_of_a_few_lines_has_no_setting_that_is_rendered_nowhere(name, engine):
    """A stack without `shard.resources` was told of an error that was none, in `explain` and in each preview."""
    size = {"gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"}}
    asked = variations.checked(SMALL_STACKS[name] | {"engine": engine} | size)
    made = make_plan(asked)
    rows = outcomes(asked, registration(made, "test"))
    assert [f"{row.key}: {row.change}; {row.because}" for row in rows if row.outcome == "error"] == []


@pytest.mark.parametrize("engine", NAMES)
def test_what_was_left_out_and_stays_out_is_no_error(engine):
    """In `verbatim` a limit that is not set has a finding and no place."""
    size = {"gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"}, "sizing": {"mode": "verbatim"}}
    asked = variations.checked({"engine": engine, "model": {"name": "llama-3-8b"}, "sharding": {"shardsCount": 1}} | size)
    made = make_plan(asked)
    rows = {row.key: row for row in outcomes(asked, registration(made, "test"))}
    assert {row.key for row in rows.values() if row.outcome == "error"} == set()
    limit = rows["shard.resources.limits.cpu"]
    assert (limit.outcome, limit.given) == ("in force", "not set") and "kept as written" in limit.because


def test_requests_that_are_not_set_are_the_limits_and_stay_so():
    asked = variations.checked({"gpuPool": {"vmSize": "Standard_NC48ads_A100_v4"}})
    made = make_plan(asked)
    rows = {row.key: row for row in outcomes(asked, registration(made, "test"))}
    empty, limit = rows["shard.resources.requests"], rows["shard.resources.limits.memory"]
    assert (empty.outcome, empty.given) == ("in force", "{}") and empty.places
    assert (limit.outcome, limit.asked) == ("adjusted", "not set") and "without a limit of memory it is Burstable" in limit.because


def test_each_finding_is_in_its_settings_row_word_for_word(plan, rows):
    by_key = {row.key: row for row in rows}
    for finding in plan.findings:
        row = by_key[finding.key]
        assert finding.because in row.because and finding.source in row.source and finding.code in row.codes
        if finding.outcome != "noted":
            assert (row.outcome, row.asked, row.given) == (finding.outcome, finding.asked, finding.given)


def test_preview_says_the_same_as_explain(rows, capsys):
    said = preview.warnings(rows)
    for row in json.loads(explained(capsys, "--json")):
        if row["outcome"] in ("adjusted", "not supported"):
            assert f"  {row['key']}: {row['asked']} -> {row['given']}; {row['because']} (" in said


def test_preview_warns_of_each_warning_and_of_nothing_else(plan, rows):
    warned = {finding.key for finding in plan.findings if finding.severity == "warning" and finding.outcome != "translated"}
    assert set(re.findall(r"(?m)^  (.+?): ", preview.warnings(rows))) == warned


def test_nothing_to_warn_of():
    assert preview.warnings(()) == ""


def test_a_setting_with_two_findings_has_the_stronger_outcome_and_both_reasons(asked, plan):
    [finding] = [finding for finding in plan.findings if finding.code == "FIT-002"]
    noted = dataclasses.replace(finding, code="X-001", outcome="noted", because="another reason", source="elsewhere")
    refused = dataclasses.replace(finding, code="X-002", outcome="not supported", given="0.5", because="a third", source="elsewhere")
    found = dataclasses.replace(plan, findings=(noted, finding, refused))
    [row] = [row for row in outcomes(asked, registration(found, "prod")) if row.key == finding.key]
    assert (row.outcome, row.given, row.codes) == ("not supported", "0.5", ("X-001", "FIT-002", "X-002"))
    assert row.because == f"another reason; {finding.because}; a third"
    assert row.source == f"elsewhere; {finding.source}"


def test_output_is_small_and_names_what_is_given(rows):
    output = preview.output(rows)
    assert output["counts"] == counts(rows)
    assert {"key": "shard.config.workerThreads", "outcome": "adjusted", "asked": "24", "given": "4", "code": "THREAD-001"} in output[
        "adjusted"
    ]
    assert len(json.dumps(output)) < 5_000


def test_one_setting_is_shown_with_its_place_reason_and_finding(capsys):
    lines = explained(capsys, "shard.config.workerThreads").splitlines()
    assert lines[:3] == ["shard.config.workerThreads: adjusted", "  asked    24", "  given    4"]
    assert re.fullmatch(r"  where    /app/config/shard\.yaml:\d+ \(ConfigMap zig-ai/zig-ai-shard-config-\*\)", lines[3])
    assert lines[-1] == "  finding  THREAD-001 in docs/findings.md"


@pytest.mark.parametrize("key", ["shard.config", "shard.env", "shard.topologySpreadConstraints[0]", "sharding.affinityRules", "engine"])
def test_a_section_is_explained_by_all_settings_below_it_and_no_other(key, asked, capsys):
    below = [setting for setting in leaves(asked) if setting == key or setting.startswith((f"{key}.", f"{key}["))]
    assert [row["key"] for row in json.loads(explained(capsys, key, "--json"))] == below != []


def test_json_rows_have_these_fields(capsys):
    for row in json.loads(explained(capsys, "--json")):
        assert list(row) == ["key", "asked", "outcome", "given", "where", "because", "source"]
        assert all(isinstance(value, str) for value in row.values())
        assert row["where"] or row["outcome"] == "unused"


def test_the_table_fits_120_columns_and_a_pipe_has_no_colours(rows, capsys):
    lines = explained(capsys).splitlines()
    assert max(map(len, lines)) <= 120
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)
    assert len([line for line in lines if re.match(r"  \S", line)]) == len(rows)


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("shard.config.workerThreds", "; did you mean shard.config.workerThreads?"),
        ("shard.confg", "; did you mean shard.config?"),
        ("nonsense", ""),
    ],
)
def test_an_unknown_key_is_refused_with_the_closest_one(key, instead, capsys):
    assert main(["explain", key]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"there is no setting {key}{instead}\n")


def test_a_wrong_stack_file_is_told_as_check_tells_it(tmp_path, capsys):
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text("config:\n  zig-ai-aks:gpuPool:\n    vmSize: Standard_NC24_v9\n")
    assert main(["explain", "--file", str(file)]) == 1
    assert "gpuPool.vmSize: Standard_NC24_v9" in capsys.readouterr().err


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_setting_that_is_rendered_nowhere_is_a_failure_for_a_script_too(form, rows, monkeypatch, capsys):
    lost = dataclasses.replace(rows[0], outcome="error", because="rendered nowhere")
    monkeypatch.setattr("reports.outcomes.outcomes", lambda asked, registration: (lost, *rows[1:]))
    assert main(["explain", "--stack", "prod", *form]) == 1
    assert "rendered nowhere" in capsys.readouterr().out
    assert main(["explain", rows[1].key, "--stack", "prod", *form]) == 0, "of another setting nothing is wrong"


CANNOT = [
    ("llama_cpp", "model.kvCache.enabled", False),
    ("vllm", "model.kvCache.enabled", False),
    ("llama_cpp", "model.kvCache.preAllocate", False),
    ("vllm", "model.kvCache.evictionPolicy", "lfu"),
    ("vllm", "model.attention.fusedAttention", False),
    ("zig_ai", "profiling.gpu.nvprof", True),
    ("zig_ai", "shard.config.threadScheduler", "fifo"),
]


@pytest.mark.parametrize("mode", ["fitted", "verbatim"])
@pytest.mark.parametrize(("engine", "key", "value"), CANNOT)
def test_what_cannot_be_is_not_supported_also_where_it_is_deployed_as_written(engine, key, value, mode):
    """`model.kvCache.enabled: false` was in force, it said, with engines that always cache."""
    wanted = value
    for part in reversed(key.split(".")):
        wanted = {part: wanted}
    asked = {"engine": engine, "model": {"name": "llama-3-8b"}, "sharding": {"shardsCount": 1}, "sizing": {"mode": mode}}
    asked |= {"gpuPool": {"vmSize": "Standard_NC24ads_A100_v4"}, "profiling": {"enabled": True, "gpu": {"enabled": True}}}
    made = make_plan(checked := variations.checked(variations.merged(asked, wanted)))
    [row] = [row for row in outcomes(checked, registration(made, "test")) if row.key == key]
    assert row.outcome == "not supported", row


def test_what_is_switched_off_is_said_to_be_unused(capsys):
    [row] = json.loads(explained(capsys, "autoscaling.cooldown", "--json"))
    assert (row["outcome"], row["where"], row["because"]) == ("unused", "", "not read while autoscaling.enabled is false")
    [row] = json.loads(explained(capsys, "autoscaling.enabled", "--json"))
    assert row["outcome"] == "in force"
    assert row["where"].startswith("no ScaledObject zig-ai/zig-ai-shard; ")


def test_a_setting_names_all_the_places_where_it_acts(capsys):
    """The keep-alive was once only passed through to the coordinator, it said; it sets the load balancer's timeout too."""
    [row] = json.loads(explained(capsys, "coordinator.config.keepAliveTimeout", "--json"))
    service, file = row["where"].split("; ")
    assert service.startswith("Service zig-ai/zig-ai-coordinator-service: ") and service.endswith(
        'azure-load-balancer-tcp-idle-timeout"] = 4'
    )
    assert (row["outcome"], file[:28]) == ("in force", "/app/config/coordinator.yaml")


def test_a_place_is_named_without_the_script_that_it_holds(rows):
    """A ConfigMap's script follows from four settings, and `explain` printed all of it for each of them."""
    named = [row.place_text(place) for row in rows for place in row.places]
    assert any(text.endswith('hugepages-config: data["setup.sh"]') for text in named)
    assert [text for text in named if "\n" in text or len(text) > 300] == []


@pytest.mark.process
def test_needs_no_engine():
    """It constructs the whole stack, for which Pulumi's SDKs are enough."""
    ran = subprocess.run(
        [sys.executable, "-m", "stacks", "explain", "--stack", "prod"], cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.process
def test_a_check_does_not_wait_for_the_sdks():
    program = (
        "import sys; from stacks.__main__ import main; status = main(['check', '--stack', 'prod']);"
        "sys.exit(f'imported: {slow}' if (slow := [m for m in sys.modules if m.split('.')[0].startswith('pulumi')]) else status)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
