"""Pages that list what lies elsewhere in the repository list all of it."""

import re

import pytest

from tests.docs.pages import PAGES, REPOSITORY
from toolchain.recipes import PROGRAMS

ROOMS = {path.name for path in REPOSITORY.iterdir() if path.is_dir()}
DECISIONS = sorted((REPOSITORY / "docs" / "adr").glob("0*.md"))


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_status_its_date_and_its_line_in_the_index(page):
    title, blank, status, *_ = page.read_text().splitlines()
    number, name = re.fullmatch(r"# (\d+)\. (.+)", title).groups()
    assert int(number) == int(page.name[:4]) and blank == ""
    said = re.fullmatch(r"Status: ((?:accepted|superseded by \d+), \d{4}-\d\d-\d\d(?:; changed \d{4}-\d\d-\d\d)?)", status)
    assert said, status
    assert f"| [{number}. {name}]({page.name}) | {said[1]} |" in (page.parent / "README.md").read_text()


def test_the_licence_of_everything_that_is_fetched_is_listed():
    page = (REPOSITORY / "docs" / "licences.md").read_text()
    packages = re.findall(r"^([A-Za-z0-9_.-]+)==", (REPOSITORY / "requirements.lock").read_text(), flags=re.MULTILINE)
    listed = page.lower().replace("_", "-")
    assert len(packages) > 50
    assert [name for name in packages if not re.search(rf"\b{re.escape(name)}\b", listed) and not name.startswith("opentelemetry-")] == []
    sources = [getattr(recipe, "module", None) or recipe.package for recipe in PROGRAMS]
    assert [source for source in sources if source not in page] == []
    versions = {recipe.version for recipe in PROGRAMS if "github.com/pulumi/pulumi-kubernetes" not in getattr(recipe, "module", "")}
    assert [version for version in sorted(versions) if version not in page] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_that_a_page_names_exist(page):
    """A page that sends a newcomer to a file which has moved costs more than it helps."""
    text = (REPOSITORY / page).read_text()
    named = {path for path in re.findall(r"`((?:[a-z_]+/)+[\w.]*)`", text) if path.split("/")[0] in ROOMS}
    assert [path for path in sorted(named) if not (REPOSITORY / path).exists()] == []
    assert [link for link in links(text) if not leads_somewhere(page, link)] == []


def test_the_readme_is_read_in_five_minutes():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150


def test_every_page_is_in_the_index():
    index = (REPOSITORY / "docs" / "README.md").read_text()
    pages = [page.name for page in (REPOSITORY / "docs").glob("*.md") if page.name != "README.md"]
    assert len(pages) > 10 and [page for page in pages if f"]({page})" not in index] == []


def test_every_subscription_that_can_be_rehearsed_is_in_the_page():
    page = (REPOSITORY / "docs" / "rehearsal.md").read_text()
    names = [file.stem for file in (REPOSITORY / "rehearsal" / "subscriptions").glob("*.yaml")]
    assert len(names) > 3 and [name for name in names if f"| `{name}` |" not in page] == []


def links(text: str) -> list[str]:
    """Returns the targets of a page's links into this repository, without those in code."""
    prose = re.sub(r"(?ms)^```.*?^```", "", text)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not re.match(r"https?:", link)]


def leads_somewhere(page: str, link: str) -> bool:
    """Says whether the file of a link exists and has the heading that the link names, in the form in which GitHub writes it."""
    path, _, heading = link.partition("#")
    target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
    if not target.exists():
        return False
    titles = re.findall(r"(?m)^#+ (.+)$", target.read_text()) if heading else []
    return not heading or heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
