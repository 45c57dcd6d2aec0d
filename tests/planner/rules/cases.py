"""The check that every rule's case goes through: the finding has its figures, and the mended stack no longer has the finding."""

import json

from settings import StackSettings
from settings.flatten import document
from tests.planner.stacks import findings


def code_of(case):
    return case[0]


def check(case):
    """`case`: code, stack with the contradiction, key, `asked -> given`, words of the reason, sections that mend the stack."""
    code, stack, key, change, because, mended = case
    of_code = {finding.key: finding for finding in findings(stack) if finding.code == code}
    assert key in of_code, f"{code} has no finding for {key}; it has some for {sorted(of_code)}"
    assert f"{of_code[key].asked} -> {of_code[key].given}" == change
    assert because in of_code[key].because
    assert of_code[key].source
    better = StackSettings.model_validate_json(json.dumps(document(stack) | mended))
    assert key not in {finding.key for finding in findings(better) if finding.code == code}
