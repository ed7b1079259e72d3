"""The JSON Schema for editors agrees with what geodns reads."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from geodns.zone.schema import json_schema

ROOT = Path(__file__).parents[2]
ZONES = sorted([*ROOT.glob("zones/*.yaml"), *ROOT.glob("geodns/zone/local/*.yaml")])


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    schema = json_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.mark.parametrize("path", ZONES, ids=lambda path: path.name)
def test_the_zones_we_ship_fit_the_schema(validator: jsonschema.Draft7Validator, path: Path) -> None:
    """An editor underlines nothing in them."""
    assert [] == [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "$zone: {ttl: 60, soa: {minimum: 60}}",
        "www: {type: A, value: '\\# 4 C0000201'}",
        "www: {type: TYPE65280, value: '\\# 0'}",
        "www: {type: MX, value: {priority: 10, value: mail.example.com.}}",
        "www: {type: TXT, value: 5}",
        "www: {type: CNAME, value: a.example., octodns: null, "
        "dynamic: {pools: {a: {values: [b.]}}, rules: [{pool: a}]}}",
        "www: {type: A, value: 192.0.2.1, ttl_min: 5, when_all_down: all, dynamic: {rules: [{pools: a}, "
        "{pools: [a, b], nearest: true, answers: 2, share: 10%}, {pool: a, share: 0.1, geos: EU}]}}",
        "www: {type: A, value: 192.0.2.1, octodns: {healthcheck: {protocol: tcp, host: null, status: [200, "
        "'300-399'], interval: 0.5s, timeout: 3, jitter: 5%, command: a b, verify: false}}, dynamic: {pools: "
        "{a: {values: [{value: 192.0.2.1, weight: 3}], policy: hash, answers: 2, min_up: 50%, fallback: [b, "
        "{pool: c, weight: 2}], slow_start: 1h30m, location: EU-DE, bias: -9, healthcheck: {}}}, "
        "rules: [{pool: a}]}}",
        "$zone: {pools: {a: {values: [192.0.2.1, '2001:db8::1', {A: [192.0.2.2], HTTPS: 1 ., weight: 2, "
        "status: up}], fallback: b, location: {lat: 1, lon: 2}}}}",
    ],
)
def test_what_is_right_fits(validator: jsonschema.Draft7Validator, text: str) -> None:
    """Older spellings, generic data and short pools are no errors."""
    assert [] == [error.message for error in validator.iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "www: {type: A}",
        "www: {value: 192.0.2.1}",
        "www: {type: NOPE, value: x}",
        "www: {type: A, value: 192.0.2.1, vlaues: []}",
        "www: {type: A, ttl: -1, value: 192.0.2.1}",
        "www: {type: CNAME, value: no-dot}",
        "www: {type: MX, value: {preference: 70000, exchange: a.}}",
        "www: {type: SRV, value: {priority: 1, weight: 2, port: 3}}",
        "www: {type: A, value: 192.0.2.1, dynamic: {pools: {}, rules: []}}",
        "www: {type: A, value: 192.0.2.1, "
        "dynamic: {pools: {a: {values: []}}, rules: [{pool: a, geos: [EUR]}]}}",
        "$zone: {tll: 5}",
        "$zone: {pools: {a: {values: [www]}}}",
        "$zone: {pools: {a: {values: [{A: 192.0.2.1, weight: many}]}}}",
        "www: {type: A, value: 192.0.2.1, dynamic: {rules: [{geos: EU}]}}",
        "www: {type: A, value: 192.0.2.1, dynamic: {rules: [{pool: a, pools: [b]}]}}",
        "www: {type: A, value: 192.0.2.1, dynamic: {rules: [{pool: a, share: 2}]}}",
        "www: {type: A, value: 192.0.2.1, when_all_down: none}",
        "www: {type: A, value: 192.0.2.1, octodns: {healthcheck: {protocol: FTP}}}",
        "www: {type: A, value: 192.0.2.1, octodns: {healthcheck: {interval: 1 h}}}",
    ],
)
def test_what_is_wrong_does_not_fit(validator: jsonschema.Draft7Validator, text: str) -> None:
    """An editor underlines what `geodns check` would refuse."""
    assert list(validator.iter_errors(yaml.safe_load(text)))


def test_every_setting_is_described() -> None:
    """Whoever completes a key in an editor is told what it does."""
    models: dict[str, Any] = json_schema()["definitions"]
    bare = [
        f"{model}.{name}"
        for model, schema in models.items()
        for name, setting in schema["properties"].items()
        if not setting.get("description") and "$ref" not in setting
    ]
    assert [] == bare
