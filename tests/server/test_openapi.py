"""The OpenAPI document: everything that is served is in it, and everything in it is served so."""

import json
import re
from pathlib import Path

from geodns.control import openapi
from geodns.control.api import ELSEWHERE, Api
from tests.fuzz import api as fuzz
from tests.server.api import serving_api

EXAMPLES = "3"  # of an operation; make fuzz has more
PAGE = Path(__file__).parent.parent.parent / "docs" / "http-api.md"


def test_requests_that_a_machine_makes_up(tmp_path: Path) -> None:
    """Whatever is asked, the answer is one that the document has, in its form, and never a 500."""
    with serving_api(tmp_path) as api:
        arguments = ("--phases", "fuzzing", "--max-examples", EXAMPLES, "--exclude-path", "/v1/reload")
        done = fuzz.ask(api, *arguments, "--seed", "1")
        assert 0 == done.returncode, done.stdout
        assert re.search(r"Tested: 1[0-9]", done.stdout) is not None
        assert 0 == api.process.end()
        assert [] == [line for line in api.process.said if "bug of geodns" in line]


def test_the_document_is_whole() -> None:
    """Each path that has a handler is in the document and on the page, with a model for what it tells."""

    class Nobody:
        pass

    api = Api(Nobody())  # type: ignore[arg-type]
    operations = [operation for operation, _ in api._table]
    made = openapi.openapi([*operations, *ELSEWHERE])
    assert "3.1.0" == made["openapi"]
    asked = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    assert {(route.method, route.path) for route in api.routes()} <= asked  # type: ignore[attr-defined]
    assert json.loads(json.dumps(made)) == made
    ids = [operation["operationId"] for methods in made["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
    page = PAGE.read_text()
    assert [] == [operation.path for operation in operations if operation.path not in page]
