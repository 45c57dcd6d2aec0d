"""vLLM's public images: the tag of each release that the adapter deploys, and what of its content matters here.

What is in them was read in the packages that they install: a release's METADATA (PyPI, vllm-RELEASE) lists what comes with it. The user
that an image names and what it starts by itself do not matter, because the pod sets both. No image was pulled.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA


@dataclass(frozen=True)
class PublicImage:
    """An image of one release."""

    reference: str
    ray: str | None
    """The release's own requirement of Ray, which joins pods to a group; None where it has none and a group could not start."""
    lmcache: bool = False
    """Whether it has LMCache, which keeps the cache of prompts in Redis."""


IMAGES = {
    RELEASE: PublicImage(reference=f"docker.io/vllm/vllm-openai:v{RELEASE}", ray="ray[cgraph]>=2.48.0"),
    RELEASE_ON_VOLTA: PublicImage(reference=f"docker.io/vllm/vllm-openai:v{RELEASE_ON_VOLTA}", ray="ray[cgraph]!=2.44.*,>=2.43.0"),
}
"""By release. vLLM 0.20.2's METADATA requires no Ray any more (docs/adr/0007-vllm-by-gpu-generation.md)."""
