"""The JSON output of `recommend`, and the parts of it that `plan --json` and the stack's outputs share."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from planner.fit.verdicts import Prediction, verdicts
from planner.performance.estimate import Range
from planner.recommend.assessment import Assessment
from planner.recommend.choice import Choice
from reports import yaml_switch


def as_json(assessment: Assessment, stack: str) -> dict[str, Any]:
    """Returns what `recommend --json` prints, with costs in USD and times in seconds unless a name says otherwise."""
    return {
        "stack": stack,
        "engine": assessment.asked.engine,
        "model": assessment.shape.name,
        "deployed": deployed(assessment),
        "layouts": [layout(assessment, choice, stack) for choice in assessment.result.choices],
        "looked_at": assessment.result.looked_at,
        "rejected": dict(assessment.result.rejected.most_common()),
        "without_price": list(assessment.result.without_price),
    }


def deployed(assessment: Assessment) -> dict[str, Any]:
    """Returns the verdicts and the prediction for the current layout; `problem` says why something is missing."""
    return {
        "meets": assessment.meets,
        "problem": assessment.problem,
        "usd_per_hour": assessment.plan.usd_per_hour if assessment.plan else None,
        "verdicts": list(map(asdict, assessment.verdicts)),
        "prediction": None if assessment.prediction is None else predicted(assessment.prediction),
    }


def predicted(prediction: Prediction) -> dict[str, Any]:
    """Returns a prediction with latency in s, TTFT and TPOT in ms, and GPU shares from 0 to 1."""
    return {
        "in_flight": prediction.load.users,
        "input_tokens": prediction.load.input_tokens,
        "output_tokens": prediction.load.output_tokens,
        "latency_s": _rounded(prediction.times.latency),
        "ttft_ms": _rounded(prediction.times.first_token, 1e3),
        "tpot_ms": _rounded(prediction.times.per_token, 1e3),
        "requests_s": _rounded(prediction.requests_s),
        "floor_s": round(prediction.floor_s, 4),
        "gpu_busy": _rounded(prediction.busy),
        "gpu_memory": round(prediction.memory_share, 4),
        "memory_bandwidth": round(prediction.bandwidth_share, 4),
        "extrapolated": prediction.extrapolated,
    }


def layout(assessment: Assessment, choice: Choice, stack: str) -> dict[str, Any]:
    """Returns one layout with its quota, cost, prediction, verdicts and the lines that switch to it."""
    prediction = choice.predict()
    return {
        "vm_size": choice.size.name,
        "gpu": choice.gpu.name,
        "region": choice.region,
        "spot": choice.spot,
        "retired_on": choice.size.retired_on,
        "precision": choice.precision,
        "tensor_parallel": choice.parallel.tensor,
        "pipeline_parallel": choice.parallel.pipeline,
        "pipelines": choice.pipelines,
        "gpus": choice.gpus,
        "nodes": choice.nodes,
        "quota": {"family": choice.quota_family, "vcpus": choice.quota_vcpus},
        "usd_per_hour": round(choice.usd_per_hour, 3),
        "usd_per_million_tokens": _cost(choice, prediction),
        "prediction": predicted(prediction),
        "verdicts": list(map(asdict, verdicts(choice.settings, prediction))),
        "yaml": yaml_switch.lines(assessment.asked, choice),
        "command": yaml_switch.command(assessment.asked, choice, stack),
    }


def _cost(choice: Choice, prediction: Prediction) -> float | None:
    cost = prediction.usd_per_million_tokens(choice.usd_per_hour)
    return None if cost is None else round(cost, 2)


def _rounded(estimate: Range, factor: float = 1.0) -> dict[str, float]:
    return {name: float(f"{getattr(estimate, name) * factor:.4g}") for name in ("value", "low", "high")}
