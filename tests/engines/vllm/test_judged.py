"""Every command line that the variations of the stacks render was started by the release itself, as far as that goes without a GPU."""

import dataclasses

import pytest

from planner.catalogue import hardware, model_shapes
from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA, TRAITS
from tests.engines import vllm_flags
from tests.engines.vllm_referee import verdicts
from tests.engines.vllm_referee.lines import MODELS, TEXT_ONLY, lines


@pytest.fixture(scope="module")
def rendered():
    """The lines of all variations by their kind. They take seconds to render, which not every run of pytest has to wait for."""
    return lines()


@pytest.fixture(scope="module")
def known():
    """The verdicts that are kept, by the kind of the line."""
    return verdicts.read()


@pytest.mark.parametrize("release", [RELEASE, RELEASE_ON_VOLTA])
def test_vllm_starts_with_every_line(rendered, known, release):
    """`make judge-vllm` judges those that have no verdict."""
    ours = {kind: line for kind, line in rendered.items() if line.release == release}
    unknown = [" ".join(line.args) for kind, line in ours.items() if kind not in known]
    assert not unknown, f"{len(unknown)} of {len(ours)} lines have no verdict (make judge-vllm), such as {unknown[0]}"
    ended = {known[kind].error: " ".join(line.args) for kind, line in ours.items() if not known[kind].starts}
    assert not ended


def test_the_cache_holds_what_the_plan_has_counted(rendered, known):
    """vLLM itself counts: the cache of each line that was judged as it is holds at least the longest request."""
    counted = [known[kind] for kind, line in rendered.items() if kind in known and known[kind].line == line and known[kind].starts]
    assert len(counted) > 100
    for one in counted:
        assert one.cache_tokens >= int(one.line.args[one.line.args.index("--max-model-len") + 1]), one.line


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda args: [one for one in args if one != "--disable-hybrid-kv-cache-manager"], "rendered like that, vLLM ends at its start"),
        (lambda args: [*args, "--attention-backend", "FLASH_ATTN"], "kernels forced"),
        (lambda args: [*args, "--scheduling-policy", "priority"], "a flag more"),
    ],
)
def test_a_line_that_nobody_judged_is_found(rendered, known, change, why):
    line = next(line for line in rendered.values() if "--disable-hybrid-kv-cache-manager" in line.args)
    assert line.kind in known
    assert dataclasses.replace(line, args=tuple(change(line.args))).kind not in known, why


def test_numbers_are_not_what_makes_a_line_another(rendered):
    """But for what they are compared with: the plan may count a little more or less cache without a new verdict."""
    line = next(line for line in rendered.values() if "--kv-cache-memory-bytes" in line.args and "the model's context" in line.kind)
    args = list(line.args)
    args[args.index("--kv-cache-memory-bytes") + 1] = "1"
    assert dataclasses.replace(line, args=tuple(args)).kind == line.kind
    args[args.index("--max-model-len") + 1] = str(10**9)
    assert dataclasses.replace(line, args=tuple(args)).kind != line.kind


def test_the_lines_are_of_every_model_gpu_generation_and_flag(rendered):
    not_judged = model_shapes.configs().keys() - set(TEXT_ONLY)
    served = model_shapes.models().keys() - dict(TRAITS.not_served).keys() - not_judged
    assert {line.model for line in rendered.values()} >= served
    capabilities = {hardware.gpu(line.gpu).compute_capability for line in rendered.values()}
    assert capabilities >= {"7.0", "7.5", "8.0", "8.6", "9.0", "10.0"}
    for release in (RELEASE, RELEASE_ON_VOLTA):
        flags = {argument for line in rendered.values() if line.release == release for argument in line.args if argument.startswith("--")}
        assert flags <= set(vllm_flags.known(release)[0]) and len(flags) > 18


def test_the_catalogue_promises_no_longer_context_than_config_json_allows():
    """vLLM ends at start with a longer `--max-model-len`: qwen2.5-14b had the base model's 131,072, where Instruct has 32,768."""
    for name, shape in model_shapes.models().items():
        config = MODELS[name]["config"]
        config = {"max_position_embeddings": shape.context} | config.get("text_config", config)
        allowed = config.get("max_position_embeddings") or config.get("seq_length") or 2048
        assert shape.context <= allowed, name
