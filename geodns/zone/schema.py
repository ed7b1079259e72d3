"""The JSON Schema of a zone file, for completion and checks in editors (yaml-language-server).

It is made of the same forms that read zone files, and of the same table of fields that reads structured
record data.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from geodns.zone.fields import GEO_PATTERN
from geodns.zone.forms import RecordForm, ZoneForm
from geodns.zone.parse import TYPES, ZONE_KEY
from geodns.zone.rdata import FIELDS, Field, Kind, type_number

_DIALECT = "http://json-schema.org/draft-07/schema#"  # what editors understand best

_SITE_KEYS = "^(weight|status|[A-Za-z][A-Za-z0-9-]*)$"

_KIND_SCHEMAS: dict[Kind, dict[str, Any]] = {
    Kind.U8: {"type": "integer", "minimum": 0, "maximum": 255},
    Kind.U16: {"type": "integer", "minimum": 0, "maximum": 65535},
    Kind.U32: {"type": "integer", "minimum": 0, "maximum": 4294967295},
    Kind.NAME: {"type": "string", "pattern": "\\.$"},
    Kind.STRING: {"type": ["string", "number", "boolean"]},
    Kind.REST: {"type": ["string", "number", "boolean"]},
    Kind.HEX: {"type": ["string", "number"]},
    Kind.STRINGS: {
        "type": "array",
        "items": {"type": ["string", "number", "boolean", "null"]},
        "minItems": 1,
    },
    Kind.PARAMS: {"type": "object"},
    Kind.DECIMAL: {"type": "number"},
    Kind.WORD: {"type": ["string", "integer"]},
}

_TEXTS: dict[str, dict[str, Any]] = {
    "A": {"type": "string", "format": "ipv4"},
    "AAAA": {"type": "string", "format": "ipv6"},
    "ALIAS": {"type": "string", "pattern": "\\.$", "description": "a name in this zone, with a final dot"},
    "CNAME": {"type": "string", "pattern": "\\.$", "description": "a domain name with a final dot"},
    "DNAME": {"type": "string", "pattern": "\\.$", "description": "a domain name with a final dot"},
    "NS": {"type": "string", "pattern": "\\.$", "description": "a domain name with a final dot"},
    "PTR": {"type": "string", "pattern": "\\.$", "description": "a domain name with a final dot"},
}


def json_schema() -> dict[str, Any]:
    """The schema of a whole zone file (JSON Schema draft 7)."""
    _, definitions = models_json_schema(
        [(RecordForm, "validation"), (ZoneForm, "validation")],
        ref_template="#/definitions/{model}",
        schema_generator=GenerateJsonSchema,
    )
    models: dict[str, Any] = definitions["$defs"]
    for model in models.values():
        _tidy(model)
    _accept_short_forms(models)
    models["RecordForm"]["properties"]["type"] |= {
        "anyOf": [{"enum": list(TYPES)}, {"pattern": "^TYPE[0-9]{1,5}$"}]
    }
    models["RecordForm"]["allOf"] = [_values_of(name) for name in TYPES if name in _TEXTS or _fields(name)]
    models["RecordForm"]["anyOf"] = [{"required": ["value"]}, {"required": ["values"]}]
    record = {"$ref": "#/definitions/RecordForm"}
    return {
        "$schema": _DIALECT,
        "title": "A geodns zone file",
        "description": "Records by name, relative to the zone; '' is the zone itself, '*' a wildcard.",
        "type": "object",
        "properties": {ZONE_KEY: {"$ref": "#/definitions/ZoneForm"}},
        "additionalProperties": {"anyOf": [record, {"type": "array", "items": record, "minItems": 1}]},
        "definitions": models,
    }


def _accept_short_forms(models: dict[str, Any]) -> None:
    """What may be written without the mapping or the list that it stands for."""
    pool, zone_pool, rule = models["PoolForm"], models["ZonePoolForm"], models["RuleForm"]
    text = {"type": ["string", "number"]}
    values = pool["properties"]["values"]
    values["items"] = {"anyOf": [values["items"], text]}
    sites = zone_pool["properties"]["values"]
    addresses = {"type": "string", "pattern": "^[0-9A-Fa-f.:]*[.:][0-9A-Fa-f.:]*$"}
    sites["items"] = {"anyOf": [sites["items"], addresses]}
    models["SiteForm"]["additionalProperties"] = {}  # under each type, what `value` has there
    models["SiteForm"]["propertyNames"] = {"pattern": _SITE_KEYS}
    for form in (pool, zone_pool):
        properties = form["properties"]
        properties["location"] = _or(properties["location"], {"type": "string", "pattern": GEO_PATTERN})
        several = properties["fallback"]["anyOf"][0]
        several["items"] = {"anyOf": [several["items"], {"type": "string"}]}
        properties["fallback"]["anyOf"] += [{"type": "string"}, {"$ref": "#/definitions/FallbackForm"}]
    for name in ("pools", "geos", "subnets", "asns"):
        properties = rule["properties"]
        properties[name] = _or(properties[name], properties[name]["items"])
    rule["oneOf"] = [{"required": ["pool"]}, {"required": ["pools"]}]


def _or(setting: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A setting that may be written in another way too."""
    outer = {key: setting[key] for key in ("description", "default") if key in setting}
    inner = {key: value for key, value in setting.items() if key not in outer}
    return outer | {"anyOf": [inner, other]}


def _values_of(name: str) -> dict[str, Any]:
    """What `value` and `values` are when `type` is this one."""
    text = _TEXTS.get(name, {"type": ["string", "number", "boolean"]})
    # RFC 3597's generic form is a text for every type.
    forms: list[dict[str, Any]] = [text if name not in _TEXTS else {"anyOf": [text, {"pattern": "^\\\\#"}]}]
    if fields := _fields(name):
        forms.append(_structured(fields))
    one: dict[str, Any] = forms[0] if len(forms) == 1 else {"anyOf": forms}
    some = {"anyOf": [one, {"type": "array", "items": one}]}
    return {
        "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
        "then": {"properties": {"value": some, "values": some}},
    }


def _fields(name: str) -> tuple[Field, ...]:
    return () if name == "ALIAS" else FIELDS.get(type_number(name), ())


def _structured(fields: tuple[Field, ...]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[dict[str, Any]] = []
    for field in fields:
        schema = _KIND_SCHEMAS[field.kind] | {"description": f"{field.about}; {field.kind.value}"}
        properties[field.name] = schema
        if field.older:
            properties[field.older] = schema
        if field.default is None:
            names = [field.name, field.older] if field.older else [field.name]
            required.append({"anyOf": [{"required": [known]} for known in names]})
    return {"type": "object", "properties": properties, "allOf": required}


def _tidy(model: dict[str, Any]) -> None:
    """Leave out what is noise in an editor: the titles that pydantic makes, and null for what can be left
    out.
    """
    model.pop("title", None)
    for name, schema in model.get("properties", {}).items():
        schema.pop("title", None)
        if schema.get("default", 0) is None:
            del schema["default"]
        kinds = schema.get("anyOf")
        if kinds and name not in ("fallback", "octodns", "healthcheck", "host"):
            kinds = [kind for kind in kinds if kind != {"type": "null"}]
            schema["anyOf"] = kinds
            if len(kinds) == 1:
                del schema["anyOf"]
                schema.update(kinds[0] | schema)
