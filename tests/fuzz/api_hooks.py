"""What schemathesis is to leave out: requests that are no business of the API's."""

from typing import Any

import schemathesis

URL_CHARACTERS_MAX = 600  # each may be twelve in a request line, of which 8,190 octets are read at most


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Longer lines are refused as HTTP, before it is known what they ask."""
    parts = [*(case.path_parameters or {}).values(), *(case.query or {}).values()]
    return len("".join(map(str, parts)).encode("utf-8", "replace")) < URL_CHARACTERS_MAX
