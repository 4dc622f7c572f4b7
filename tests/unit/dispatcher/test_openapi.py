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


def test_every_error_is_documented_as_a_problem() -> None:
    for name, operation in operations(document(create_app())).items():
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and name != "getReadiness":
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
