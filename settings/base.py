"""The base class of every section of the stack file."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """A frozen and strict model. Unknown keys are errors, and keys are spelt in camelCase as in the guide and in Kubernetes."""

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
    """The consequence of a value outside a constraint; it stands beside the constraint, and error messages quote it."""

    text: str
