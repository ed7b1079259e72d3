"""Write what the Python engine answers today into the goldens, for a person to read with git diff."""

from geodns.engine.answer import answer
from tests import goldens
from tests.conftest import NOW, snapshot_of_golden, with_health


def main() -> None:
    for file in sorted(goldens.ANSWERS.glob("*.md")):
        snapshot = snapshot_of_golden(file.name)
        questions = [goldens.ask(case.question) for case in goldens.read(file).cases]
        goldens.rewrite(
            file,
            [
                goldens.say(
                    answer(q.packet, q.client, with_health(snapshot, q.values), q.draw, NOW, q.stream)
                )
                for q in questions
            ],
        )


if __name__ == "__main__":
    main()
