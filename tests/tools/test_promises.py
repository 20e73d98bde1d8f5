"""Promise: each promise of the README leads to its rules, each rule to tests that exist."""

from __future__ import annotations

import re

import pytest

from tests.tools import promises

TEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)


def test_every_promise_of_the_readme_has_its_rules() -> None:
    stated = promises.rows(promises.README, "What it promises")
    assert len(stated) > 3
    assert set(stated) == set(promises.RULES) - {promises.BESIDE}
    assert all(promises.RULES.values())


def test_every_rule_of_the_contract_is_held() -> None:
    rules = set(promises.rows(promises.CONTRACT, "What it promises"))
    listed = [name for names in promises.RULES.values() for name in names]
    assert len(listed) == len(set(listed))
    assert rules == set(listed) - set(promises.ELSEWHERE)
    assert set(promises.TESTS) == set(listed)
    assert all(promises.TESTS.values())


@pytest.mark.parametrize("rule", promises.TESTS)
def test_the_tests_are_there_and_are_collected(rule: str) -> None:
    for test in promises.TESTS[rule]:
        file, _, function = test.partition("::")
        text = (promises.CHECKOUT / "tests" / file).read_text(encoding="utf-8")
        assert any(found == (function or found) for found in TEST.findall(text)), test


def test_the_page_is_what_the_program_writes() -> None:
    assert promises.PAGE.read_text(encoding="utf-8") == promises.page(), (
        "python -m tests.tools.promises"
    )
