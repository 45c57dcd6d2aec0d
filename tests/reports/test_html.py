"""The plan's HTML page: whole, self-contained, and as a browser shows it."""

import re
import struct
from html.parser import HTMLParser

import pytest

from planner.__main__ import main
from planner.recommend.assessment import assess
from planner.recommend.what_if import what_ifs
from reports import sentences
from reports.html import page
from settings.flatten import with_values
from tests.browser import browser
from tests.planner.stacks import stack

WIDTH = 1000
STACKS = {
    "prod": stack("prod"),
    "dev": stack("dev"),
    "out of reach": with_values(stack("prod"), {("targets", "latency"): "100ms"}),
    "too large": with_values(stack("prod"), {("model", "quantization", "precision"): "fp16"}),
    "odd names": with_values(stack("dev"), {("loadTest", "prompt"): "<script>alert(1)</script>"}),
}


@pytest.fixture(scope="module")
def pages():
    return {name: page(assess(asked), "<b>" if name == "odd names" else name) for name, asked in STACKS.items()}


VOID = {"meta", "br"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed in the wrong place."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("name", STACKS)
def test_the_page_needs_nothing_else(name, pages):
    text = pages[name]
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(|src=|<iframe", text)
    checked = Balanced()
    checked.feed(text)
    assert not checked.open
    for figure in re.findall(r'\s(?:x|y|width|height|cx|cy|x1|x2|y1|y2)="([^"]*)"', text):
        assert re.fullmatch(r"-?\d+(\.\d+)?", figure), figure
    assert not re.search(r"\b(nan|inf|None)\b", text)


def test_every_section_of_prod_is_there(pages):
    text = pages["prod"]
    for head in (
        "Latency against throughput",
        "Cost per million output tokens",
        "Memory of a GPU",
        "What if",
        "Why the other layouts do not meet the targets",
    ):
        assert f"<h2>{head}</h2>" in text
    assessment = assess(STACKS["prod"])
    for line in sentences.two_lines(assessment):
        assert line in text
    for choice in assessment.alternatives:
        assert sentences.summary(choice) in text and f"{choice.usd_per_hour:,.2f}" in text


def test_names_are_text_and_no_markup(pages):
    assert "&lt;b&gt;: llama-2-7b" in pages["odd names"] and "<b>:" not in pages["odd names"]


def test_a_target_out_of_reach_and_a_model_too_large_have_a_page(pages):
    assert "No layout meets the targets" in pages["out of reach"] and "at best" in pages["out of reach"]
    assert "GiB too few" in pages["too large"] and "<h2>How to switch</h2>" in pages["too large"]


def test_what_ifs_answer_for_themselves():
    cases = {case.what: case.choice for case in what_ifs(assess(STACKS["prod"]))}
    base = cases["as the stack asks"].usd_per_hour
    quicker = cases["latency within 1 s"]
    assert cases["latency within 4 s"].usd_per_hour < base and (quicker is None or quicker.usd_per_hour > base)
    assert cases["50 requests/s, 50 users"].usd_per_hour < base < cases["200 requests/s, 200 users"].usd_per_hour
    assert cases["one node may be lost"].usd_per_hour > base > cases["spot prices"].usd_per_hour
    assert cases["weights in as few as 4 bits, with other answers"].usd_per_hour <= base


def test_the_command_writes_it(tmp_path, capsys):
    file = tmp_path / "plan.html"
    assert main(["plan", "--stack", "dev", "--html", str(file)]) == 0
    assert file.read_text().startswith("<!doctype html>") and capsys.readouterr().out.endswith(f"\nwritten: {file}\n")
    assert main(["plan", "--stack", "dev", "--html", str(tmp_path / "no" / "plan.html")]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/no/plan.html: No such file or directory\n"


OVERLAPS = """(() => {
    const boxes = [...document.querySelectorAll('svg text')].map(t => [t.textContent, t.ownerSVGElement, t.getBoundingClientRect()]);
    const found = [];
    for (const [i, [a, svg, one]] of boxes.entries())
        for (const [b, other, two] of boxes.slice(i + 1))
            if (svg === other && one.left < two.right && two.left < one.right && one.top < two.bottom && two.top < one.bottom)
                found.push(a + ' | ' + b);
    return found;
})()"""
OUTSIDE = """[...document.querySelectorAll('svg text')].filter(t => {
    const box = t.getBoundingClientRect(), svg = t.ownerSVGElement.getBoundingClientRect();
    return box.left < svg.left - 1 || box.right > svg.right + 1 || box.bottom > svg.bottom + 1;
}).map(t => t.textContent)"""
CONTRAST = """(() => {
    const light = text => { const [r, g, b] = text.match(/[0-9.]+/g).map(Number).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const paper = light(getComputedStyle(document.body).backgroundColor);
    return [...document.querySelectorAll('h1, h2, p, td, th, pre, .outcome, footer, svg text')].map(element => {
        const ink = light(getComputedStyle(element)[element.closest('svg') ? 'fill' : 'color']);
        return [(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), element.textContent.slice(0, 40)];
    }).filter(([ratio]) => ratio < 4.5);
})()"""


@pytest.mark.process
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["prod", "dev", "out of reach"])
def test_a_browser_shows_it(name, scheme, pages, tmp_path):
    """No request but the page's own, no complaint, charts as wide as their column, text legible, nothing on top of other text."""
    file = tmp_path / "plan.html"
    file.write_text(pages[name])
    with browser(tmp_path / "profile") as shown:
        shown.open(file, width=WIDTH, scheme=scheme)
        requests = [event["params"]["request"]["url"] for event in shown.events if event["method"] == "Network.requestWillBeSent"]
        complaints = [event for event in shown.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
        assert requests == [file.as_uri()] and not complaints
        background = [int(part) for part in re.findall(r"\d+", shown.value("getComputedStyle(document.body).backgroundColor"))[:3]]
        assert (sum(background) < 200) == (scheme == "dark")
        assert shown.value("document.documentElement.scrollWidth") <= WIDTH
        charts = shown.value("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width)")
        assert len(charts) == {"prod": 3, "dev": 3, "out of reach": 2}[name] and all(800 < width <= WIDTH for width in charts)
        assert shown.value(OVERLAPS) == [] and shown.value(OUTSIDE) == [] and shown.value(CONTRAST) == []
        picture = tmp_path / "plan.png"
        shown.screenshot(picture, width=WIDTH)
        width, height = struct.unpack(">II", picture.read_bytes()[16:24])
        assert width == WIDTH and height > 1500
        # A narrow window scrolls its tables and charts, not the page.
        shown.open(file, width=400, scheme=scheme)
        assert shown.value("document.documentElement.scrollWidth") <= 400
