"""What every section of the stack file has in common."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """Frozen and strict; unknown keys are errors; keys are spelt in camelCase as in the guide and in Kubernetes."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
    )


@dataclass(frozen=True)
class Otherwise:
    """Beside a constraint: what would come of a value that breaks it. Errors quote it."""

    text: str
