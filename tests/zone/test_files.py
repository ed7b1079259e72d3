"""Which files are zones, and how they are named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.name import BadName, Name
from geodns.zone import load, zone_file_name, zone_files, zone_name

RECORDS = "'': {type: NS, value: ns1.example.net.}\n"


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("example.com.", "example.com.yaml"),
        ("Example.COM.", "example.com.yaml"),
        (".", ".yaml"),
        ("0/25.2.0.192.in-addr.arpa.", "0%2F25.2.0.192.in-addr.arpa.yaml"),
        ("::1.", "%3A%3A1.yaml"),
        ("_tcp.example.com.", "_tcp.example.com.yaml"),
        ("a%b.", "a%25b.yaml"),
        ("a\\.b.c.", "a%5C.b.c.yaml"),
        ("*.example.", "%2A.example.yaml"),
    ],
)
def test_a_zone_has_a_file_name(name: str, file_name: str) -> None:
    """The zone's name, lower case, with what a file's name cannot hold as %XX; and back."""
    assert file_name == zone_file_name(Name.parse(name))
    assert Name.parse(name) == zone_name(file_name)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6))
def test_every_name_has_a_file_and_comes_back(labels: list[bytes]) -> None:
    """Whatever octets a name has, its file's name is plain, and leads back to it."""
    name = Name.from_labels(labels)
    file_name = zone_file_name(name)
    assert not set(file_name) & set("/\\\0: *")
    assert file_name.isascii()
    assert name == zone_name(file_name)


@pytest.mark.parametrize(
    "file_name", ["a..b.yaml", "..yaml", "%2e%2e.yaml", "a" * 64 + ".yaml", "example.com", "%5C.yaml"]
)
def test_file_names_that_are_no_zone(file_name: str) -> None:
    """A user reads why; nothing but BadName is raised."""
    with pytest.raises(BadName):
        zone_name(file_name)


def test_zone_files_of_a_directory(tmp_path: Path) -> None:
    """Zone files are found; droppings of editors, other files and directories are passed over."""
    for name in ["example.com.yaml", ".yaml", "2.0.192.in-addr.arpa.yaml", "DÉJÀ.example.yaml"]:
        (tmp_path / name).write_text(RECORDS)
    for name in [
        ".example.com.yaml.swp",
        ".#example.com.yaml",
        "example.com.yaml~",
        "#example.com.yaml#",
        "README.md",
    ]:
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()
    files, problems = zone_files(tmp_path)
    assert [] == problems
    assert {
        Name.parse("example.com."): tmp_path / "example.com.yaml",
        Name.parse("."): tmp_path / ".yaml",
        Name.parse("2.0.192.in-addr.arpa."): tmp_path / "2.0.192.in-addr.arpa.yaml",
        Name.parse("xn--dj-kia8a.example."): tmp_path / "DÉJÀ.example.yaml",
    } == files


def test_links_stay_in_the_directory(tmp_path: Path) -> None:
    """A link to elsewhere is refused; one inside, as Kubernetes makes them, is followed."""
    zones = tmp_path / "zones"
    (zones / "..2024").mkdir(parents=True)
    (zones / "..2024" / "example.com.yaml").write_text(RECORDS)
    (zones / "..data").symlink_to("..2024")
    (zones / "example.com.yaml").symlink_to("..data/example.com.yaml")
    (tmp_path / "secret.yaml").write_text(RECORDS)
    (zones / "secret.yaml").symlink_to("../secret.yaml")
    (zones / "gone.yaml").symlink_to("nowhere")
    (zones / "loop.yaml").symlink_to("loop.yaml")
    files, problems = zone_files(zones)
    assert [zones / "example.com.yaml"] == list(files.values())
    assert [
        f"{zones}/gone.yaml: the file cannot be read: no such file or directory",
        f"{zones}/loop.yaml: the file cannot be read: too many levels of symbolic links",
        f"{zones}/secret.yaml: the link leads out of the directory of zones"
        " (copy the file, or serve its own directory)",
    ] == [str(problem) for problem in problems]


def test_what_cannot_be_a_zone_is_told(tmp_path: Path) -> None:
    """Bad names, two files of a zone, a directory named as a file, and .yml have one line each."""
    for name in ["a..b.yaml", "Example.com.yaml", "example.com.yaml", "example.org.yml"]:
        (tmp_path / name).write_text(RECORDS)
    (tmp_path / "folder.yaml").mkdir()
    files, problems = zone_files(tmp_path)
    assert [Name.parse("example.com.")] == list(files)
    assert [
        f'{tmp_path}/a..b.yaml: the file is not named as a zone: "a..b" has an empty label'
        " (two dots in a row, or a dot in front) (such as example.com.yaml)",
        f"{tmp_path}/example.com.yaml: the zone example.com. has two files (the other is Example.com.yaml)",
        f"{tmp_path}/example.org.yml: warning: a file that ends in .yml is not read; zone files end in .yaml",
        f"{tmp_path}/folder.yaml: this is not a regular file",
    ] == sorted(str(problem) for problem in problems)


def test_a_directory_that_is_not_there() -> None:
    """One problem, no exception."""
    files, problems = zone_files(Path("/nonexistent"))
    assert {} == files
    assert ["/nonexistent: the directory of zones cannot be read: no such file or directory"] == list(
        map(str, problems)
    )


def test_load_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    """`load` never raises: a bad name, a missing file and a directory are problems."""
    (tmp_path / "dir.yaml").mkdir()
    for name, what in [
        ("a..b.yaml", "the file is not named as a zone"),
        ("gone.yaml", "the file cannot be read: no such file"),
        ("dir.yaml", "this is not a regular file"),
    ]:
        zone, problems = load(tmp_path / name)
        assert zone is None
        assert what in str(problems[0])
