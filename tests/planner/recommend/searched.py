"""Stacks that tests of the search share, and what it finds for them."""

from functools import cache

import yaml

from planner.recommend.assessment import assess
from planner.recommend.choice import SearchOptions
from reports import yaml_switch
from settings import files
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
    """Merges as a person pastes lines: a key that is there gets the new value, another is added."""
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
