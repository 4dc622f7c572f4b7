"""The wire as others know it. A test that fails here means that someone else's system would break."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from pydantic import ValidationError

from shared.contracts.base import Contract
from shared.contracts.catalogue import COMMAND_KEYS, MODELS, encode, type_of
from shared.contracts.commands import Selector, StartRestoreRun
from shared.contracts.names import MAX_BODY_BYTES, MessageType
from shared.messaging import asyncapi

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "asyncapi.json"


def golden(kind: MessageType) -> dict[str, Any]:
    loaded = json.loads((GOLDEN / f"{kind.value}.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_every_message_version_has_its_example_and_no_example_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {kind.value for kind in MessageType}
    assert set(MODELS) == set(MessageType)


@pytest.mark.parametrize("kind", MessageType)
def test_an_example_is_read_and_written_unchanged(kind: MessageType) -> None:
    example = golden(kind)

    message = MODELS[kind].model_validate_json(json.dumps(example))

    assert json.loads(encode(message)) == example
    assert type_of(message) is kind


@pytest.mark.parametrize("kind", MessageType)
def test_fields_of_a_later_version_are_ignored(kind: MessageType) -> None:
    """Inside version 1 fields are only added: an older reader must not mind."""
    example = golden(kind)

    message = MODELS[kind].model_validate_json(json.dumps(example | {"added_later": {"x": [1]}}))

    assert message == MODELS[kind].model_validate(example)
    assert "added_later" not in json.loads(encode(message))


@pytest.mark.parametrize("kind", MessageType)
def test_another_major_version_is_refused(kind: MessageType) -> None:
    with pytest.raises(ValidationError) as refused:
        MODELS[kind].model_validate_json(json.dumps(golden(kind) | {"version": 2}))

    assert [detail["loc"] for detail in refused.value.errors()] == [("version",)]


@pytest.mark.parametrize("kind", MessageType)
def test_a_message_cannot_be_changed_once_it_is_made(kind: MessageType) -> None:
    message = MODELS[kind].model_validate(golden(kind))

    with pytest.raises(ValidationError):
        message.version = 1  # type: ignore[attr-defined]  # every message has one; the base class does not know


@pytest.mark.parametrize("kind", MessageType)
def test_the_published_schema_accepts_the_example(kind: MessageType) -> None:
    document = json.loads(DOCUMENT.read_text())
    schema = {"$ref": f"#/components/schemas/{MODELS[kind].__name__}", "components": document["components"]}

    jsonschema.Draft202012Validator(schema).validate(golden(kind))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(golden(kind) | {"tenant_id": 7})


def test_the_committed_document_is_what_the_contracts_say() -> None:
    """Changed on purpose? `python -m shared.messaging.asyncapi > docs/reference/asyncapi.json`."""
    assert asyncapi.text() == DOCUMENT.read_text()


def test_the_document_is_asyncapi_3() -> None:
    document = json.loads(DOCUMENT.read_text())

    parsed = ApplicationSchema.model_validate(document)

    assert document["asyncapi"] == "3.0.0"
    assert len(parsed.channels) == len(document["channels"]) > 0


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = json.loads(DOCUMENT.read_text())
    references = set(_references(document))

    assert references
    for reference in references:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def _references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [found for item in part for found in _references(item)]
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [found for item in part.values() for found in _references(item)]
    return []


def test_every_command_has_a_routing_key() -> None:
    commands = {kind for kind, model in MODELS.items() if model.__module__.endswith(".commands")}

    assert set(COMMAND_KEYS) == commands


def test_a_selector_says_all_or_names_types_and_never_both() -> None:
    assert Selector(all=True).policy_types == ()
    with pytest.raises(ValidationError):
        Selector()
    with pytest.raises(ValidationError):
        Selector(all=True, policy_types=("deviceConfiguration",))


def test_a_start_takes_one_kind_of_selection() -> None:
    start = golden(MessageType.START_RESTORE_RUN)

    with pytest.raises(ValidationError):
        StartRestoreRun.model_validate(start | {"selector": {"all": True}})
    with pytest.raises(ValidationError):
        StartRestoreRun.model_validate(start | {"deadline_at": "2031-03-04T05:06:07"})


def test_a_start_with_an_explicit_selection_of_a_thousand_items_fits_into_a_message() -> None:
    ids = tuple(f"0198c0de-0000-7000-8000-{number:012x}" for number in range(1000))

    start = StartRestoreRun.model_validate(golden(MessageType.START_RESTORE_RUN) | {"item_ids": ids})

    assert len(encode(start)) < MAX_BODY_BYTES


def test_type_of_refuses_what_is_no_message() -> None:
    with pytest.raises(KeyError):
        type_of(Contract())
