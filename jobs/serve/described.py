"""Renders an OpenAPI document as one HTML page without scripts: FastAPI's own page loads them from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = "body{font:16px/1.5 system-ui;max-width:60em;margin:2em auto;padding:0 1em}code,pre{background:#f3f3f3}"
TABLE = "td,th{text-align:left;vertical-align:top;padding:.2em 1em .2em 0}"


def page_of_openapi(document: dict[str, Any]) -> str:
    """The page of a document as FastAPI makes it."""
    info = document["info"]
    parts = [f"<h1>{escape(info['title'])}</h1><p>{escape(info['summary'])} {escape(info['description'])}</p>",
             "<p><a href='openapi.json'>openapi.json</a>, for generators of clients</p>"]  # fmt: skip
    for path, methods in document["paths"].items():
        for method, of in methods.items():
            parts += [f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(of['description'])}</p>"]
            given = [(one["name"], one["in"], one["required"], one["schema"]) for one in of.get("parameters", ())]
            parts += [_table((name, where, _kind(schema), "yes" if required else f"no: {json.dumps(schema['default'])}")
                             for name, where, required, schema in given)] if given else []  # fmt: skip
            bodies = [of["requestBody"]["content"]["application/json"]["schema"]] if "requestBody" in of else []
            parts += [f"<p>Body, JSON: {_kind(body)}</p>" for body in bodies]
            answers = ((status, one["description"], _kind(one["content"]["application/json"]["schema"]))
                       for status, one in of["responses"].items() if status != "422")  # fmt: skip
            parts += [f"<p>{status}, {escape(said)}: {kind}</p>" for status, said, kind in answers]
    for name, schema in document["components"]["schemas"].items():
        if not name.endswith("ValidationError"):
            rows = ((field, "field", _kind(one), escape(one.get("description", "")))
                    for field, one in schema["properties"].items())  # fmt: skip
            parts += [f"<h2 id='{name}'>{name}</h2><p>{escape(schema.get('description', ''))}</p>{_table(rows)}"]
    return f"<!doctype html><title>{escape(info['title'])}</title><style>{STYLE}{TABLE}</style>{''.join(parts)}"


def _table(rows: Iterator[tuple[str, str, str, str]]) -> str:
    lines = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{where}<td>{kind}<td>{more}" for name, where, kind, more in rows
    )
    return f"<table>{lines}</table>"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/")[-1]
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("format", schema.get("type", "any"))))
