"""The HTTP API of a real server, asked by schemathesis what its OpenAPI document allows, and what not.

python -m tests.fuzz.api SECONDS
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.server.api import TOKEN, Api, serving_api

ROOT = Path(__file__).parent.parent.parent
# Not those that ask whether what the document allows is accepted: no schema says what a good zone is.
CHECKS = (
    *(
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
    ),
    *("response_schema_conformance", "unsupported_method", "ignored_auth"),
)


def ask(api: Api, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against the server with these arguments."""
    hooks = {"SCHEMATHESIS_HOOKS": "tests.fuzz.api_hooks", "PYTHONPATH": str(ROOT)}
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{api.url}/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}", "--checks", ",".join(CHECKS)),
        *("--warnings", "off", "--no-color", *arguments),
    ]
    return subprocess.run(
        command, cwd=api.folder, env={**os.environ, **hooks}, stdout=subprocess.PIPE, text=True, check=False
    )


def main() -> int:
    """Ask for so many seconds. Returns the exit code."""
    with tempfile.TemporaryDirectory() as folder, serving_api(Path(folder)) as api:
        done = ask(api, "--max-time", sys.argv[1], "--continue-on-failure")
        print(done.stdout)
        api.process.end()
        print("\n".join(api.process.said[-20:]))
        return done.returncode or any("bug of geodns" in line for line in api.process.said)


if __name__ == "__main__":
    sys.exit(main())
