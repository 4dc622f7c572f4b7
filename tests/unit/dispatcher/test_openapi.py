import json
from pathlib import Path
from typing import Any

from services.dispatcher.app import create_app
from services.dispatcher.openapi import document, text

COMMITTED = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"


def test_the_committed_document_is_the_one_that_the_code_gives() -> None:
    assert COMMITTED.read_text() == text(create_app()), "run: python -m services.dispatcher.openapi > " + COMMITTED.name


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["operationId"]: one for methods in schema["paths"].values() for one in methods.values()}


def test_it_is_openapi_3_1_with_one_name_for_each_operation_and_an_example_in_each_schema_of_ours() -> None:
    schema = document(create_app())
    count = sum(len(methods) for methods in schema["paths"].values())
    ours = {name: one for name, one in schema["components"]["schemas"].items() if "properties" in one}

    assert schema["openapi"].startswith("3.1")
    assert len(operations(schema)) == count
    assert {name for name, one in ours.items() if "examples" not in one} <= {"RunCounts"}
    assert json.dumps(schema)


def lists(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations that answer with a page: `items`, of as many rows as there are."""
    components = schema["components"]["schemas"]

    def is_page(operation: dict[str, Any]) -> bool:
        content = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        rows = components.get(name, {}).get("properties", {}).get("items", {})
        return rows.get("type") == "array"

    return {name: one for name, one in operations(schema).items() if is_page(one)}


def test_every_list_has_a_page_of_bounded_size_and_a_cursor() -> None:
    pages = lists(document(create_app()))

    assert len(pages) >= 8
    assert {name for name in operations(document(create_app())) if name.startswith("list")} <= set(pages)
    for name, operation in pages.items():
        given = {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "query"}
        assert 1 <= given["limit"]["default"] <= given["limit"]["maximum"] <= 200, name
        assert given["limit"]["minimum"] == 1, name
        assert "cursor" in given, name


def test_what_a_request_says_is_bounded_field_by_field() -> None:
    """Each text has a length, a pattern or a format, and each array a length."""
    schema = document(create_app())
    bodies = {name: one for name, one in schema["components"]["schemas"].items() if name.endswith("Body")}
    unbounded = [f"{name}.{path}" for name, one in bodies.items() for path in unbounded_in(one)]

    assert len(bodies) >= 5
    assert unbounded == []


def unbounded_in(schema: dict[str, Any], path: str = "") -> list[str]:
    """Name the places of a schema that may be of any size."""
    found = []
    match schema.get("type"):
        case "string" if not {"maxLength", "pattern", "format", "enum", "const"} & schema.keys():
            found.append(path)
        case "array" if "maxItems" not in schema:
            found.append(path)
        case "object" if "additionalProperties" in schema and schema["additionalProperties"] is not False:
            found += [] if "maxProperties" in schema else [path]
    inner = {**schema.get("properties", {}), **({"[]": schema["items"]} if "items" in schema else {})}
    inner |= {f"|{number}": one for number, one in enumerate(schema.get("anyOf", ()))}
    for name, one in inner.items():
        found += unbounded_in(one, f"{path}.{name}")
    return found


def test_every_error_is_documented_as_a_problem() -> None:
    for name, operation in operations(document(create_app())).items():
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and name != "getReadiness":
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
