"""What every rule is tested by: that it says so with its figures, and not of other numbers."""

import json

from settings import StackSettings
from settings.flatten import document
from tests.planner.stacks import findings


def code_of(case):
    return case[0]


def check(case):
    """`case`: code, stack that has it, key, asked -> given, words of the reason, the same stack mended."""
    code, asked, key, change, because, mended = case
    found = {finding.key: finding for finding in findings(asked) if finding.code == code}
    assert key in found, f"{code} was not found, or of {sorted(found)}"
    assert f"{found[key].asked} -> {found[key].given}" == change
    assert because in found[key].because
    assert found[key].source
    better = StackSettings.model_validate_json(json.dumps(document(asked) | mended))
    assert key not in {finding.key for finding in findings(better) if finding.code == code}
