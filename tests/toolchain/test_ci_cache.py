"""The caches of the workflow: which programs each of them holds, and when its key changes. No action runs here."""

import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from toolchain.cache import Cache
from toolchain.official import known_releases
from toolchain.programs import PINS, folder_of
from toolchain.recipes import GROUPS, PROGRAMS
from toolchain.sources import programs_of

REPOSITORY = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((REPOSITORY / ".github/actions/programs/action.yml").read_text())
WORKFLOW = yaml.safe_load((REPOSITORY / ".github/workflows/preview.yml").read_text())


def outputs(group: str, tmp_path: Path) -> dict[str, str]:
    """Runs the action's first step as GitHub does, and reads what it writes in GitHub's format for outputs."""
    written = tmp_path / group
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"GROUP": group, "SYSTEM": "Linux-X64", "GITHUB_OUTPUT": str(written), "PATH": path}
    subprocess.run(["bash", "-euo", "pipefail", "-c", ACTION["runs"]["steps"][0]["run"]], cwd=REPOSITORY, env=environment, check=True)
    text = written.read_text()
    several = re.search(r"^path<<(\w+)\n(.*)\n\1\n", text, flags=re.DOTALL | re.MULTILINE)
    return dict(re.findall(r"^(prefix|key)=(.*)$", text, flags=re.MULTILINE)) | {"path": several[2]}


@pytest.mark.process
def test_each_program_is_in_the_cache_of_its_group_alone(tmp_path):
    """Built or downloaded: on GitHub most are official releases, whose folders have other names."""
    cache = Cache.of_user()
    cached = {group: outputs(group, tmp_path) for group in GROUPS}
    releases = known_releases(PINS)
    assert {"kube-apiserver", "pulumi", "promtool"} <= {name for release in releases for name in release.programs}
    for group, members in GROUPS.items():
        patterns = cached[group]["path"].splitlines()
        programs = set().union(*map(programs_of, members))
        of_group = {folder_of(cache, recipe) for recipe in members} | {
            release.folder(cache) for release in releases if programs & set(release.programs)
        }
        folders = {folder_of(cache, recipe) for recipe in PROGRAMS} | {release.folder(cache) for release in releases}
        assert {folder for folder in folders if any(fnmatch(str(folder), pattern) for pattern in patterns)} == of_group
        assert cached[group]["key"].startswith(cached[group]["prefix"])
    assert len({cache["prefix"] for cache in cached.values()}) == len(GROUPS)


def test_the_tests_of_a_pull_request_restore_every_group():
    steps = WORKFLOW["jobs"]["test"]["steps"]
    restored = [step["with"]["group"] for step in steps if step.get("uses") == "./.github/actions/programs"]
    assert sorted(restored) == sorted(GROUPS) and steps[-1]["run"] == "make test"


def test_the_default_branch_fills_the_caches_that_pull_requests_read():
    """Without it, each new pull request built everything again: the cache of one pull request is closed to all others."""
    triggers = WORKFLOW[True]  # YAML reads the key `on` as a boolean
    assert "pull_request" in triggers and triggers["push"]["branches"] == ["main"]


def test_what_was_built_is_saved_before_a_test_can_fail():
    uses = [step.get("uses", step.get("run")) for step in ACTION["runs"]["steps"]]
    assert "actions/cache/restore@v5" in uses and uses[-1] == "actions/cache/save@v5"
