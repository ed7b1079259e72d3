"""The goldens of tests/answers through every engine.

`python -m tests.update_answers` writes what is answered into them, to be read with git diff.
"""

import pytest

from tests import goldens
from tests.conftest import NOW, Answer, SnapshotOf, with_health

CASES = [case for file in sorted(goldens.ANSWERS.glob("*.md")) for case in goldens.read(file).cases]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_answer_is_what_is_written(answer: Answer, snapshot_of: SnapshotOf, case: goldens.Case) -> None:
    """Every question of tests/answers gets the answer that stands below it."""
    question = goldens.ask(case.question)
    snapshot = with_health(snapshot_of(case.file.name), question.values)
    wire = answer(question.packet, question.client, snapshot, question.draw, NOW, question.stream)
    assert case.expected == goldens.say(wire)
