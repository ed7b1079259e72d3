"""The OpenAPI document, made of the same operations and models that the server goes by.

Operations --> paths;  pydantic models --JSON Schema--> components
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from geodns import __version__
from geodns.control.forms import Error, NoQuery

YAML = "text/yaml"
JSON = "application/json"
OPENAPI_VERSION = "3.1.0"

# What an answer with each status says, in a few words.
STATUSES = {
    200: "done",
    201: "the zone was made",
    304: "the client has it already",
    400: "the request is not of this form",
    401: "the token is missing or wrong",
    403: "nobody may do this here",
    404: "there is no such thing",
    408: "the body took too long",
    409: "the file or the server is not in a state for this",
    412: "the zone is not the one that the client has seen, or the client does not say which it has seen",
    413: "the body is too large",
    415: "the body is packed",
    422: "the zone or the target has errors; nothing was changed",
    507: "there is no room",
}

_PATH_PARAMETERS = {
    "zone": "a zone, such as example.com, with or without its final dot",
    "name": 'a record\'s name in the zone, such as www; "@" for the zone itself',
    "type": "a record type, such as A, ALIAS or TYPE65280",
    "address": "an IPv4 or IPv6 address",
}
_CONDITIONS = {
    "If-Match": "the ETag of the zone that is to be changed",
    "If-None-Match": "*, to make a zone that is not there",
}
_WRITES = ("PUT", "POST", "DELETE")


@dataclass(frozen=True, slots=True)
class Operation:
    """A method of a path. `answer` and `body` are models, or the media type of a text.

    `errors` are the statuses that it can have beside those that every operation can; `conditions` are the
    header fields that a write goes by.
    """

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | str
    query: type[BaseModel] = NoQuery
    body: type[BaseModel] | str | None = None
    good: tuple[int, ...] = (200,)
    errors: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()
    has_etag: bool = False

    @property
    def writes(self) -> bool:
        return self.method in _WRITES


def openapi(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document (OpenAPI 3.1) of these operations."""
    operations = list(operations)
    models: list[type[BaseModel]] = [Error]
    for operation in operations:
        models += [model for model in (operation.answer, operation.body) if isinstance(model, type)]
    references, definitions = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[object, Any] = {model: schema for (model, _), schema in references.items()}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "geodns",
            "version": __version__,
            "description": "One instance of the nameserver: its zones, and what it knows.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, schemas: dict[object, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _id(operation),
        "parameters": [
            *_path_parameters(operation.path),
            *_query_parameters(operation.query),
            *_headers(operation),
        ],
        "responses": {},
        "security": [{"token": []}] if operation.writes else [{"token": []}, {}],
    }
    if operation.body is not None:
        told["requestBody"] = {"required": True, "content": _content(operation.body, schemas)}
    # of a text in YAML no schema says what its values are
    answer = {YAML: {}} if operation.answer == YAML else _content(operation.answer, schemas)
    for status in operation.good:
        told["responses"][str(status)] = _response(status, answer, operation)
    for status in sorted({400, 401, 403, *operation.errors}):
        content = None if status == 304 else _content(Error, schemas)
        told["responses"][str(status)] = _response(status, content, operation)
    return told


def _id(operation: Operation) -> str:
    words = re.findall(r"[a-z]+", operation.path.removeprefix("/v1"))
    return "_".join([operation.method.lower(), *words])


def _response(status: int, content: dict[str, Any] | None, operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {"description": STATUSES[status]}
    if content is not None:
        told["content"] = content
    if operation.has_etag and status < 400:
        told["headers"] = {
            "ETag": {
                "description": "of the zone file's octets",
                "required": True,
                "schema": {"type": "string"},
            }
        }
    return told


def _content(kind: type[BaseModel] | str, schemas: dict[object, Any]) -> dict[str, Any]:
    if isinstance(kind, str):
        return {kind: {"schema": {"type": "string"}}}
    return {JSON: {"schema": schemas[kind]}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": {key: value for key, value in field.items() if key not in ("title", "description")},
            **({"description": field["description"]} if "description" in field else {}),
        }
        for name, field in schema.get("properties", {}).items()
    ]


def _headers(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "header",
            "required": operation.conditions == (name,),
            "description": _CONDITIONS[name],
            "schema": {"type": "string"},
        }
        for name in operation.conditions
    ]
