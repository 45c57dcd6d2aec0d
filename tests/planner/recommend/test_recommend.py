"""`python -m planner recommend`: what it finds meets the targets, nothing cheaper does, its lines switch a stack, the rest has reasons."""

import json
import math
import re
from functools import cache

import pytest
import yaml

from planner import plan
from planner.__main__ import main
from planner.catalogue import hardware
from planner.engine_facts import traits
from planner.fit import stack_memory
from planner.fit.demand import load_of
from planner.fit.verdicts import predict, verdicts
from planner.recommend.assessment import assess
from planner.recommend.choice import SearchOptions, bits
from planner.recommend.layouts import engine_layouts, with_batch
from planner.rules.planning import shape_of
from reports import sentences, yaml_switch
from settings import SettingsError, files
from settings.flatten import with_values
from tests.planner.stacks import settings, stack

STACKS = {
    "prod": stack("prod"),
    "dev": stack("dev"),
    "one process": settings(
        engine="llama_cpp", model={"name": "llama-3-8b"}, targets={"throughputRps": 5}, loadTest={"concurrentUsers": 8}
    ),
    "tensor parallel": with_values(stack("prod"), {("engine",): "vllm"}),
    "experts": settings(model={"name": "mixtral-8x7b"}, sharding={"shardsCount": 8}),
    "own limits": settings(
        gpuPool={"vmSize": "Standard_NC24ads_A100_v4", "maxNodes": 1, "usdPerHour": 1, "zones": []},
        autoscaling={"enabled": True, "maxPipelines": 2},
        model={"name": "llama-2-13b"},
        sharding={"shardsCount": 1},
        sizing={"mode": "verbatim"},
    ),
}


IDLE = {("targets", "gpuUtilization"): "0%"}


@cache
def found(name, **wish):
    return assess(STACKS[name], SearchOptions(**wish))


def merged(document, more):
    """As a person pastes lines: a key that is there gets the new value, another is added."""
    both = document | {
        key: merged(document[key], value) if isinstance(value, dict) and key in document else value for key, value in more.items()
    }
    return both


def pasted(name, choice, tmp_path):
    """The stack with the choice's lines in its file, read as any stack file."""
    asked = STACKS[name]
    text = {f"{files.PROJECT}:{key}": value for key, value in asked.model_dump(mode="json", by_alias=True, exclude_unset=True).items()}
    path = tmp_path / "Pulumi.pasted.yaml"
    path.write_text(yaml.safe_dump({"config": merged(text, yaml.safe_load(yaml_switch.lines(asked, choice)) or {})}))
    return files.from_file(path, "pasted").require()


@pytest.mark.parametrize("name", STACKS)
def test_every_layout_can_be_pasted_and_meets_the_targets(name, tmp_path):
    choices = found(name).result.choices
    assert choices
    for choice in choices:
        asked = pasted(name, choice, tmp_path)
        made = plan(asked)
        assert not [finding for finding in made.findings if finding.code in ("PLACE-008", "TARGET-001", "SIZE-001", "LAYER-002")]
        split = stack_memory.parallel(made.settings, made.gpu, made.shape)
        assert (made.size.name, made.nodes, made.pipelines, split) == (choice.size.name, choice.nodes, choice.pipelines, choice.parallel)
        assert stack_memory.precisions(made.settings)[0] == choice.precision
        assert made.usd_per_hour == pytest.approx(choice.usd_per_hour)
        prediction = predict(made.settings, made.size, made.gpu, made.shape, load_of(asked))
        said = {verdict.key: verdict.outcome for verdict in verdicts(made.settings, prediction)}
        assert set(said.values()) == {"met"}, (choice, said)
        assert prediction.times == choice.predict().times


@pytest.mark.parametrize("name", STACKS)
def test_one_pipeline_less_would_miss_a_target(name):
    for choice in found(name).result.choices:
        if choice.pipelines == 1:
            continue
        fewer = choice.pipelines - 1
        # The search wants no request to wait for a place in a batch: one that kept some out could keep the GPU busy enough.
        size = max(math.ceil(choice.load.users / fewer), choice.settings.coordinator.config.dynamic_batching.max_batch_size)
        less = with_batch(with_values(choice.settings, {("sharding", "pipelines"): fewer}), size)
        said = verdicts(less, predict(less, choice.size, choice.gpu, choice.shape, choice.load))
        assert any(verdict.outcome in ("missed", "in doubt") for verdict in said), choice


def test_what_the_bounds_leave_out_would_not_do_for_less():
    """Every form on two sizes, planned and predicted without any bound, against the cheapest that the search has of each."""
    asked = settings(
        model={"name": "llama-2-13b"}, sharding={"shardsCount": 1}, targets={"throughputRps": 20}, loadTest={"concurrentUsers": 30}
    )
    shape = shape_of(asked)
    best = {}
    for choice in assess(asked).result.choices:
        best[choice.size.name, choice.precision] = min(choice.usd_per_hour, best.get((choice.size.name, choice.precision), 1e9))
    tried = 0
    for name in ("Standard_NC64as_T4_v3", "Standard_NV72ads_A10_v5"):
        for form in engine_layouts(asked, shape, hardware.gpu_size(name, "eastus")):
            for pipelines in (1, 2, 3, 4, 6, 8):
                values = {
                    ("gpuPool", "vmSize"): name,
                    ("model", "quantization", "precision"): form.precision,
                    ("shard", "resources", "limits", "nvidia.com/gpu"): form.gpus,
                    ("shard", "resources", "requests", "nvidia.com/gpu"): form.gpus,
                    ("sharding", "shardsCount"): form.stages,
                    ("sharding", "pipelines"): pipelines,
                    ("coordinator", "config", "dynamicBatching", "maxBatchSize"): 128,
                }
                try:
                    made = plan(with_values(asked, values))
                    prediction = predict(made.settings, made.size, made.gpu, shape, load_of(asked))
                except (SettingsError, ValueError):
                    continue
                if stack_memory.precisions(made.settings)[0] != form.precision:
                    continue
                tried += 1
                if all(one.outcome == "met" for one in verdicts(made.settings, prediction)):
                    assert made.usd_per_hour >= best[name, form.precision] - 1e-9, (name, form, pipelines)
    assert tried > 50


def test_sizes_that_nothing_here_drives_are_left_out_with_what_they_have():
    left_out = found("prod").result.rejected
    assert left_out["the size has AMD GPUs"] and left_out["the size has confidential GPUs, whose signed driver AKS does not install"]
    assert all(choice.size.aks_driver for choice in found("prod").result.choices)


def test_the_guides_layout_misses_its_target_by_its_floor():
    said = {verdict.key: verdict for verdict in found("prod").verdicts}
    latency = said["targets.latency"]
    assert latency.outcome == "missed" and "8.2 s at best" in latency.predicted
    assert said["targets.throughputRps"].outcome == "missed"
    assert not found("prod").meets and found("dev").meets


@pytest.mark.parametrize("name", STACKS)
def test_every_layout_is_looked_at_once(name):
    asked = STACKS[name]
    every = sum(
        sum(1 for _ in engine_layouts(asked, shape_of(asked), hardware.gpu_size(size, "eastus"))) for size in hardware.gpu_size_names()
    )
    assert found(name).result.looked_at == every


def test_no_deeper_pipeline_where_one_serves_the_load_with_fewer_stages():
    left_out = 0
    for name in STACKS:
        fewest = {}
        for choice in found(name).result.choices:
            if choice.pipelines == 1:
                fewest.setdefault((choice.size.name, choice.precision, choice.parallel.tensor), []).append(choice.parallel.pipeline)
        assert all(len(stages) == 1 for stages in fewest.values()), name
        left_out += found(name).result.rejected["more stages where one pipeline serves the load with fewer"]
    assert left_out > 50


def test_only_what_the_engine_can_deploy():
    of_engine = traits("llama_cpp")
    for choice in found("one process").result.choices:
        assert choice.settings.sharding.shards_count == 1 and choice.precision in of_engine.weight_precisions
        assert choice.parallel.tensor == 1


def test_cheapest_first_and_alternatives_of_different_sizes():
    assessment = found("prod")
    costs = [choice.usd_per_hour for choice in assessment.result.choices]
    assert costs == sorted(costs)
    assert len({choice.size.name for choice in assessment.alternatives}) == len(assessment.alternatives) == 3
    fewer = [choice for choice in assessment.result.choices if choice.precision == "int4"]
    assert fewer and not any(choice.precision == "int4" for choice in assessment.alternatives)
    assert assessment.result.best(1, 4) == (assessment.result.choices[0],) and bits(assessment.asked) == 8


@pytest.mark.parametrize("name", ["prod", "own limits"])
def test_the_loss_of_any_node_leaves_enough(name, tmp_path):
    """The nodes are those of the plan: whichever is taken away, the pipelines without a shard on it meet the targets."""
    plain = {(c.size.name, c.precision, c.parallel): c.pipelines for c in found(name).result.choices}
    more = 0
    for choice in found(name, survive=1).result.choices[:12]:
        made = plan(pasted(name, choice, tmp_path))
        needed = plain[choice.size.name, choice.precision, choice.parallel]
        for node in range(made.nodes):
            hurt = {pod.pipeline for pod in made.pods if pod.node == node}
            assert made.pipelines - len(hurt) >= needed
        more += choice.pipelines - needed
    assert more > 0


def test_prices_of_the_region_and_of_spot():
    west = found("prod", regions=("westeurope",))
    h100 = "Standard_ND96isr_H100_v5"
    prices = {round(choice.usd_per_hour / choice.nodes, 6) for choice in west.result.choices if choice.size.name == h100}
    assert prices == {hardware.gpu_size(h100, "westeurope").usd_per_hour}
    assert "azure: {location: westeurope}" in yaml_switch.lines(STACKS["prod"], west.result.choices[0])
    everywhere = found("prod", regions=hardware.regions())
    cheapest = min(west.result.choices[0].usd_per_hour, found("prod").result.choices[0].usd_per_hour)
    assert everywhere.result.choices[0].usd_per_hour <= cheapest
    spot = found("prod", spot=True)
    assert spot.result.choices[0].usd_per_hour < found("prod").result.choices[0].usd_per_hour
    assert "spot: true" in yaml_switch.lines(STACKS["prod"], spot.result.choices[0])
    assert "Standard_ND96isr_H100_v5" in spot.result.without_price and spot.result.rejected["no spot price in eastus"]


def test_retired_sizes_only_when_asked_for():
    assert not any(choice.size.retired_on for choice in found("dev").result.choices)
    assert any(choice.size.retired_on for choice in found("dev", retired=True).result.choices)


def test_expected_is_cheaper_than_sure():
    expected = found("prod", expected=True).result.choices[0]
    assert expected.usd_per_hour < found("prod").result.choices[0].usd_per_hour
    one = expected.predict()
    assert one.times.latency.value <= 2 and one.requests_s.value >= 100 > one.requests_s.low


def test_a_target_inside_the_range_is_in_doubt_and_one_beyond_it_is_missed():
    """The layout whose estimate just meets the rate, asked for a tenth more, and with one pipeline alone."""
    choice = found("prod", expected=True).result.choices[0]
    outcomes = []
    for pipelines, wanted in ((choice.pipelines, 100), (choice.pipelines, 110), (1, 100)):
        asked = with_values(choice.settings, {("sharding", "pipelines"): pipelines, ("targets", "throughputRps"): wanted})
        prediction = predict(asked, choice.size, choice.gpu, choice.shape, choice.load)
        [rate] = [one for one in verdicts(asked, prediction) if one.key == "targets.throughputRps"]
        outcomes.append((prediction.requests_s.value >= wanted, prediction.requests_s.high >= wanted, rate.outcome))
    assert outcomes == [(True, True, "in doubt"), (False, True, "in doubt"), (False, False, "missed")]


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (
            {"latency": "100ms"},
            r"needs at least 0\.\d+ s to read the weights 100 times, and the target is 0.1 s; choose a targets.latency of more than",
        ),
        ({"latency": "250ms"}, "for one request alone"),
        (
            {"throughputRps": 1_000_000},
            r"256 pipelines, the most that a stack can have, serve [\d,]+ requests/s within 2 s, and the target is 1,000,000",
        ),
        (
            {"gpuUtilization": "100%"},
            r"the busiest runs kernels 9\d% of the time, and the target is 100%; choose a lower targets.gpuUtilization",
        ),
        ({"gpuMemory": "1%"}, "fits on no VM size of the region; choose a smaller model, fewer bits, a targets.gpuMemory above 1%"),
        (
            {"tokens": 5000},
            "a request of 10 \\+ 5,000 tokens exceeds the 4,096 that llama-2-70b can read; choose a shorter loadTest.prompt",
        ),
    ],
)
def test_an_impossible_target_says_the_floor_and_what_would_have_to_change(targets, says, capsys, tmp_path):
    path = tmp_path / "Pulumi.far.yaml"
    document = yaml.safe_load((files.ROOT / "Pulumi.prod.yaml").read_text())
    document["config"]["zig-ai-aks:targets"] |= targets
    path.write_text(yaml.safe_dump(document))
    assert main(["recommend", "--file", str(path)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "no layout meets the targets" in printed
    assert re.search(says, printed), printed


def test_a_stack_that_cannot_be_planned_is_still_advised():
    assessment = assess(with_values(stack("prod"), {("model", "quantization", "precision"): "fp16"}))
    assert assessment.plan is None and "GiB too few" in assessment.problem and not assessment.verdicts
    assert {choice.precision for choice in assessment.alternatives} == {"fp16"}


@pytest.mark.parametrize(
    ("wish", "says"), [({}, "no VM size on sale has a price in polandcentral;"), ({"spot": True}, "has a spot price in polandcentral;")]
)
def test_a_region_without_prices_is_said_to_be_one(wish, says, capsys):
    assessment = assess(with_values(stack("prod"), {("azure", "location"): "polandcentral"}), SearchOptions(**wish))
    assert says in sentences.impossible(assessment) and not assessment.result.choices


def test_requests_longer_than_the_models_context_fit_no_layout():
    patient = {("targets", "latency"): "600s", ("targets", "throughputRps"): 1, ("loadTest", "prompt"): "word" * 5000}
    assessment = assess(with_values(stack("prod"), patient))
    assert not assessment.result.choices and assessment.prediction is None and "exceeds the 4,096" in assessment.problem
    patient[("loadTest", "prompt")] = "word" * 1000
    assert assess(with_values(stack("prod"), patient)).result.choices


def test_gpus_that_wait_for_the_host_are_no_choice_however_cheap():
    """llama.cpp chooses tokens on the host: with fewer requests in each pipeline it keeps its GPU busy, at more cost."""
    busy, idle = found("one process").result.choices, assess(with_values(STACKS["one process"], IDLE)).result.choices
    assert idle[0].usd_per_hour < 0.5 * busy[0].usd_per_hour
    assert idle[0].predict().busy.low < 0.8 <= min(choice.predict().busy.low for choice in busy)


def test_a_pod_whose_gpus_take_turns_leaves_all_but_one_idle():
    asked = with_values(STACKS["one process"], IDLE)
    several = [choice for choice in assess(asked).result.choices if choice.parallel.pipeline > 1]
    assert several and all(choice.predict().busy.high <= 1 / choice.parallel.pipeline for choice in several)


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


def test_the_plan_judges_too(capsys):
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
