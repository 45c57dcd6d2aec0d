"""Parses `model.source`, which names a model's weights in a form that always means the same bytes.

A blob path is the exception, because its owner can change its content: the weights that were downloaded first are kept.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from settings.quantities import problem_error

_HUB = re.compile(r"hf://(?P<model>[\w.-]+/[\w.-]+)(?:@(?P<version>[^/@]+)(?:/(?P<file>[^@]+))?)?")
_BLOB = re.compile(r"https://[a-z0-9]{3,24}\.blob\.core\.windows\.net/[a-z0-9$-]{3,63}/(?P<path>[^?#]+)")
_ARTIFACT = re.compile(
    r"oci://(?P<artifact>[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9._-]+)+)(?:(?P<tag>:[\w.-]+)|@(?P<version>[^/@]+)(?:/(?P<file>[^@]+))?)?"
)
_PART_OF_SEVERAL = re.compile(r"-[0-9]{5}-of-[0-9]{5}\.gguf$")

EXAMPLES = (
    "hf://org/name@COMMIT or hf://org/name@COMMIT/file.gguf, https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH (a folder when it ends "
    "with /), or oci://REGISTRY/NAME@sha256:DIGEST"
)


@dataclass(frozen=True, kw_only=True)
class WeightSource:
    """A parsed source, as far as other parts than the downloading program need it."""

    text: str
    file: str | None
    """The file that the source names, or None for a whole model or a folder."""
    many: bool
    """Whether the source is a whole model or a folder. For an artifact this is known only after the download, so it is False."""
    repository: str | None = None
    """`org/name` on the Hugging Face hub, or None for other sources."""
    commit: str | None = None
    """The commit of that repository, or None for other sources."""

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits that change with the source."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    @property
    def part_of_several(self) -> bool:
        """Whether the file is one of several parts made by llama-gguf-split."""
        return self.file is not None and _PART_OF_SEVERAL.search(self.file) is not None


def parse(text: str) -> WeightSource:
    """Parses a source. Raises `problem_error` for text that names no source, or one whose content may change."""
    if ".." in text.split("/"):
        raise problem_error("contains `..`, which leads out of the model: there is no such file, so the fetch would fail", EXAMPLES)
    if match := _HUB.fullmatch(text):
        version = match["version"]
        if version is None or not re.fullmatch(r"[0-9a-f]{40}", version):
            named = "names no commit" if version is None else f"names a branch or tag, {version}"
            raise problem_error(
                f"{named}: the next fetch could bring other weights, and nothing would record which ones are served",
                f"add @ and the commit's 40 hexadecimal digits, as printed by `git ls-remote https://huggingface.co/{match['model']}`",
            )
        return WeightSource(text=text, file=match["file"], many=match["file"] is None, repository=match["model"], commit=version)
    if match := _BLOB.fullmatch(text):
        path = match["path"]
        return WeightSource(text=text, file=None if path.endswith("/") else path.rsplit("/", 1)[-1], many=path.endswith("/"))
    if match := _ARTIFACT.fullmatch(text):
        version = match["version"]
        if version is None or not re.fullmatch(r"sha256:[0-9a-f]{64}", version):
            named = f"names a tag, {match['tag'].removeprefix(':')}" if match["tag"] else "names no digest"
            raise problem_error(
                f"{named}: the next fetch could bring other weights, and nothing would record which ones are served",
                f"add @sha256: and the digest, as printed by `oras resolve {match['artifact']}{match['tag'] or ':TAG'}`",
            )
        return WeightSource(text=text, file=match["file"], many=False)
    raise problem_error("is not a source that weights can be fetched from", EXAMPLES)


def _checked(text: str) -> str:
    return parse(text).text


SourceText = Annotated[str, AfterValidator(_checked)]
