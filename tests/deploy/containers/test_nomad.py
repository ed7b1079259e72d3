"""The job for Nomad, read as the language that it is written in; there is no Nomad to plan it with."""

from typing import Any

import pytest

from tests.deploy.pages import DEPLOY


def job() -> Any:
    hcl2 = pytest.importorskip("hcl2", reason="pip install python-hcl2")
    with (DEPLOY / "nomad" / "geodns.nomad.hcl").open() as file:
        return hcl2.load(file)


def plain(value: Any) -> Any:
    """python-hcl2 leaves the quotes on strings, and makes a list of every block."""
    if isinstance(value, str):
        return value.strip('"')
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def test_it_is_a_job_of_two_on_distinct_hosts() -> None:
    """Two, never on one machine, only where the operator says, and replaced one after the other."""
    (found,) = plain(job())["job"]
    geodns = found["geodns"]
    (group,) = geodns["group"]
    assert 2 == group["ns"]["count"]
    constraints = group["ns"]["constraint"]
    assert "distinct_hosts" in [constraint.get("operator") for constraint in constraints]
    assert "${meta.geodns}" in [constraint.get("attribute") for constraint in constraints]
    assert 1 == geodns["update"][0]["max_parallel"]


def test_its_task_is_what_the_image_takes() -> None:
    """The host's network, port 53, one capability, a read-only root, and zones that it can not write."""
    (group,) = plain(job())["job"][0]["geodns"]["group"]
    assert 53 == group["ns"]["network"][0]["port"][0]["dns"]["static"]
    (config,) = group["ns"]["task"][0]["geodns"]["config"]
    assert ("host", True) == (config["network_mode"], config["readonly_rootfs"])
    assert (["all"], ["net_bind_service"]) == (config["cap_drop"], config["cap_add"])
    assert "/srv/geodns/zones:/etc/geodns/zones:ro" in config["volumes"]
