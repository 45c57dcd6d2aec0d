"""`engineArguments`: flags that the settings do not cover, on the command line of the engine."""

from __future__ import annotations

from collections.abc import Iterator

from planner.fit.plan import Finding
from planner.rules.rule import RuleContext, Rules
from planner.rules.written_flags import WRITTEN
from settings import Problem, StackSettings
from settings.error_messages import key_text

OWN_CODE = "--trust-remote-code"
_SECTION = "engineArguments"

RULES = Rules()


def refused_arguments(settings: StackSettings) -> Iterator[Problem]:
    """Yields flags that cannot be passed on: those that a setting decides, and any for an image of one's own."""
    written = WRITTEN.get(settings.engine)
    if written is None and settings.engine_arguments:
        yield Problem(
            key=_SECTION,
            value=", ".join(settings.engine_arguments),
            consequence=f"the servers of {settings.engine} are images of your own, which are started without arguments",
            fix="leave the section out, and start your server with them in its image; or an engine with public images: vllm or llama_cpp",
        )
    for flag, value in settings.engine_arguments.items():
        setting = (written or {}).get(flag)
        if setting is not None:
            yield Problem(
                key=key_text((_SECTION, flag)),
                value=str(value),
                consequence="is written by this program itself" + (f", as {setting} says" if setting else ", and nothing else would work"),
                fix=f"set {setting} instead" if setting else "leave it out",
            )
        elif value is False:
            yield Problem(
                key=key_text((_SECTION, flag)),
                value="false",
                consequence="a flag that stands alone is there or not: a server would take the word false for its next argument",
                fix=f"leave it out, or write the flag that switches it off, such as --no-{flag.removeprefix('--')}",
            )


@RULES.rule
def own_code(context: RuleContext) -> Iterator[Finding]:
    """Code of a checkpoint runs with all that the pod may do."""
    if OWN_CODE in context.settings.engine_arguments:
        yield Finding(
            code="ENGINE-011",
            outcome="noted",
            severity="warning",
            path=(_SECTION, OWN_CODE),
            because="the checkpoint's own Python code runs in the servers, beside every prompt. Read it at the "
            "commit that model.source pins; network policies and the pods' rights bound what it can reach",
            source="huggingface/transformers docs/source/en/models.md, Custom models",
        )
