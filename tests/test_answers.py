"""The goldens of tests/answers through every engine.

UPDATE_ANSWERS=1 writes what is answered into them, to be read with git diff.
"""

import os

import pytest

from tests import goldens
from tests.conftest import NOW, Answer, SnapshotOf

GOLDENS = [goldens.read(file) for file in sorted(goldens.ANSWERS.glob("*.md"))]
CASES = [case for golden in GOLDENS for case in golden.cases]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_answer_is_what_is_written(answer: Answer, snapshot_of: SnapshotOf, case: goldens.Case) -> None:
    """Every question of tests/answers gets the answer that stands below it."""
    question = goldens.ask(case.question)
    snapshot = snapshot_of(case.file.name)
    wire = answer(question.packet, question.client, snapshot, question.draw, NOW, question.stream)
    assert case.expected == goldens.say(wire)


@pytest.mark.skipif("UPDATE_ANSWERS" not in os.environ, reason="only on request: it changes the goldens")
@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.file.stem)
def test_update(answer: Answer, snapshot_of: SnapshotOf, golden: goldens.Golden) -> None:
    """Writes the answers of today into a golden."""
    questions = [goldens.ask(case.question) for case in golden.cases]
    snapshot = snapshot_of(golden.file.name)
    goldens.rewrite(
        golden.file,
        [goldens.say(answer(q.packet, q.client, snapshot, q.draw, NOW, q.stream)) for q in questions],
    )
