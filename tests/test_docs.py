"""README and docs: what they say to type works, and gives what they say it gives."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from geodns.config import load_config
from geodns.name import Name
from geodns.zone import load_text
from geodns.zone.files import zone_name
from tests.server.api import TOKEN, Api, serving_api

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "geo-db").glob("*.md"))]
COMMAND_SECONDS = 90

# Commands that cannot be run inside the tests, and what shows them instead.
ELSEWHERE = {
    "make serve": "tests/server/test_make.py",
    "make test": "is what runs this",
    "make bench": "tests/test_benchmarks.py has its parts",
    "geodns delegation example.org --verify": "tests/delegation/test_network.py, in a world of its own",
    "make fuzz": "takes minutes by design",
    "make soak": "takes minutes by design",
    "geodns acme-dns-01": "tests/acme/test_instances.py, as it needs a server with a token",
    "certbot ": "tests/acme/clients, with a CA",
    "EXEC_PATH=": "tests/acme/clients, with a CA",
    "GEODNS_CONFIG=": "tests/acme/test_instances.py has the script",
    "curl ": "tests/acme/test_instances.py has the requests",
}

TYPED_ELSEWHERE = {"docs/tutorial.md": "tests/deploy/containers/test_tutorial.py, on two machines"}
"""Pages whose commands are run there, all of them."""

_BLOCK = re.compile(r"^( *)```(yaml|console)\n(.*?)^\1```$", re.M | re.S)


def blocks(kind: str) -> list[tuple[str, str]]:
    """(page:line, text) of each block of this kind."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in _BLOCK.finditer(text):
            if block[2] == kind:
                line = text.count("\n", 0, block.start()) + 1
                found.append((f"{page.relative_to(ROOT)}:{line}", dedent(block[3])))
    return found


def commands() -> list[tuple[str, str, list[str]]]:
    """(page:line, command, expected output) for each "$ " line of a console block."""
    found: list[tuple[str, str, list[str]]] = []
    for place, text in blocks("console"):
        if place.partition(":")[0] in TYPED_ELSEWHERE:
            continue
        for line in text.splitlines():
            if line.startswith("$ "):
                found.append((place, line.removeprefix("$ "), []))
            else:
                found[-1][2].append(line)
    return [command for command in found if not command[1].startswith(tuple(ELSEWHERE))]


@pytest.mark.parametrize(("place", "text"), blocks("yaml"), ids=[place for place, _ in blocks("yaml")])
def test_a_yaml_block_is_valid(place: str, text: str, tmp_path: Path) -> None:
    """Each YAML block says in its first line which file it is, and is without a problem as such."""
    name = text.splitlines()[0].removeprefix("# ")
    if name == "geodns.yaml":
        file = tmp_path / name
        file.write_text(text)
        config, problems = load_config(file)
        assert config is not None
    else:
        apex: Name = zone_name(Path(name).name)
        zone, problems = load_text(text.encode(), apex, name, 1)
        assert zone is not None
    assert [str(problem) for problem in problems if problem.is_error] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a new user has: zones/, geo-db/, and the zone of the README."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "geo-db").symlink_to(ROOT / "geo-db")
    shutil.copytree(ROOT / "zones", folder / "zones")
    for _, text in blocks("yaml"):
        name = text.splitlines()[0].removeprefix("# ")
        if name.startswith("zones/") and not (folder / name).exists():
            (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[str]:
    """The port of a server in that folder."""
    arguments = [sys.executable, "-m", "geodns", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(arguments, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if ready := re.search(r"ready: .* on 127\.0\.0\.1:(\d+)", line):
                yield ready[1]
                break
        server.terminate()
        server.stderr.read()


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with the zones of the repository and an HTTP endpoint, and curl's header in a file."""
    folder = tmp_path_factory.mktemp("api")
    with serving_api(folder, zone=(ROOT / "zones" / "example.com.yaml").read_text()) as api:
        (folder / "auth").write_text(f"Authorization: Bearer {TOKEN}\n")
        yield api


@pytest.mark.parametrize(
    ("place", "command", "expected"),
    commands(),
    ids=[f"{place} {command}" for place, command, _ in commands()],
)
def test_a_command_does_what_the_page_says(
    place: str, command: str, expected: list[str], folder: Path, request: pytest.FixtureRequest
) -> None:
    """Every command line of a console block succeeds, and prints what stands below it."""
    arguments = shlex.split(command)
    if arguments[0] == "dig":
        if shutil.which("dig") is None:
            pytest.skip("dig is not installed (apt-get install bind9-dnsutils)")
        port = request.getfixturevalue("port")
        arguments = [port if argument in ("5301", "5302") else argument for argument in arguments]
    elif arguments[0] == "curl":
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed (apt-get install curl)")
        api: Api = request.getfixturevalue("control")
        folder = api.folder
        arguments = [argument.replace("http://127.0.0.1:5380", api.url) for argument in arguments]
        arguments.insert(1, "--fail-with-body")
    elif arguments[0] == "geodns":
        arguments = [sys.executable, "-m", *arguments]
    environment = os.environ | {"COLUMNS": "120"}
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    if arguments[0] == "dig":
        assert done.stdout.strip(), "an answer"
    if expected:
        assert expected == done.stdout.strip().splitlines()


def test_every_setting_is_in_the_docs() -> None:
    """docs/configuration.md has every key of geodns.yaml."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert [] == [name for name in _settings() if f"`{name}`" not in page]


def _settings() -> list[str]:
    from pydantic import BaseModel

    from geodns.config import Config

    def walk(model: type[BaseModel], prefix: str) -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += walk(kind, f"{prefix}{name}.")
            else:
                names.append(prefix + name)
        return names

    return walk(Config, "")


@pytest.mark.parametrize(("page", "where"), TYPED_ELSEWHERE.items())
def test_a_page_that_is_typed_elsewhere_has_a_test(page: str, where: str) -> None:
    """The test that is named reads this page."""
    assert Path(page).name in (ROOT / where.partition(",")[0]).read_text()
