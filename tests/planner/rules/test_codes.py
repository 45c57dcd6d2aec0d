"""Every finding has an entry in the docs and a case here, and the guide's contradictions are among them."""

import importlib
import re
from pathlib import Path

from settings.files import ROOT
from tests.planner.stacks import findings, stack


def test_prod_as_pasted_from_the_guide_has_its_contradictions_found():
    found = {finding.code for finding in findings(stack("prod"))}
    idle_gpus_and_limits = {"PLACE-002", "PLACE-003", "PLACE-004", "PLACE-005"}
    hardware = {"GPU-001", "GPU-003", "GPU-004", "CPU-001", "PROF-001", "FIT-001", "TARGET-001", "SIZE-001"}
    assert found >= idle_gpus_and_limits | hardware | {"THREAD-001", "LAYER-001", "LB-001", "LB-002", "PLACE-006", "NODE-001"}


def codes_in_the_source():
    sources = [path.read_text() for path in sorted(Path(ROOT / "planner").rglob("*.py"))]
    return set(re.findall(r'"([A-Z]+-\d{3})"', "\n".join(sources)))


def codes_with_a_case():
    here = Path(__file__).parent
    modules = (importlib.import_module(f"tests.planner.rules.{file.stem}") for file in sorted(here.glob("test_*.py")))
    return {case[0] for module in modules for case in getattr(module, "CASES", [])}


def test_every_code_has_one_entry_in_the_docs_and_a_case_here():
    entries = re.findall(r"^### ([A-Z]+-\d{3})$", (ROOT / "docs" / "findings.md").read_text(), flags=re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert set(entries) == codes_in_the_source(), "docs/findings.md has one heading `### CODE` for each code in planner/, and no other"
    assert codes_in_the_source() - {"NODE-001"} == codes_with_a_case(), "each code has a case in CASES of a file in tests/planner/rules/"
