"""The public images that are deployed are those of which it is known what they contain."""

import re
from pathlib import Path

import pytest

from engines.vllm.images import IMAGES
from planner.engine_facts.vllm import TRAITS
from tests.docs.pages import text
from tests.engines import vllm_referee
from tests.engines.vllm.conftest import VARIANTS, rendered

REQUIREMENTS = Path(vllm_referee.__file__).parent / "requirements"


def test_each_release_that_a_gpu_may_get_has_an_image_of_its_own():
    before = TRAITS.before_turing
    assert before is not None
    assert set(IMAGES) == {TRAITS.release, before.release}
    for release, image in IMAGES.items():
        assert image.reference == f"docker.io/vllm/vllm-openai:v{release}"


@pytest.mark.parametrize("release", IMAGES)
def test_an_image_has_what_the_release_installs(release):
    """`requirements/RELEASE.txt` is what pip resolves of the published package, which the image installs."""
    installed = set(re.findall(r"(?m)^([a-z0-9-]+)==", (REQUIREMENTS / f"{release}.txt").read_text()))
    assert ("ray" in installed, "lmcache" in installed) == (IMAGES[release].ray is not None, IMAGES[release].lmcache)


def test_what_is_rendered_is_one_of_them_and_a_group_has_ray():
    """The newest release starts no group: its image came without Ray, and each pod ended at start."""
    by_reference = {image.reference: image for image in IMAGES.values()}
    groups = 0
    for variant in VARIANTS.values():
        workload, _ = rendered(variant())
        image = by_reference[workload.shard.image]
        if workload.worker is not None:
            groups += 1
            assert workload.worker.image == workload.shard.image and image.ray
    assert groups


@pytest.mark.parametrize("release", IMAGES)
def test_the_page_on_engines_lists_them(release):
    image = IMAGES[release]
    assert f"| {release} | `{image.reference}` | `{image.ray}` | {'yes' if image.lmcache else 'no'} |" in text("docs/engines.md")
