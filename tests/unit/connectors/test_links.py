"""Entries about objects of the service's own catalogue: one normal form, whoever wrote them down."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from shared.connectors.links import bound
from shared.connectors.normalise import fingerprint, normalised, restorable_body
from shared.connectors.policy_types import policy_type
from shared.domain.errors import PermanentError, SafeCode

KEY = "groupPolicyConfiguration"
LINK = policy_type(KEY).links[0]
ROOT = "https://graph.example/beta/"
GOLDEN = Path(__file__).with_name("golden") / f"{KEY}.json"


def payload() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))["payload"]
    return found


def as_other_tools_export_it() -> dict[str, Any]:
    """With bindings to another cloud's address in the place of the definitions."""
    form = payload()
    for value in form["definitionValues"]:
        definition = (
            f"https://graph.other.example/v1.0/deviceManagement/groupPolicyDefinitions('{value['definition']['id']}')"
        )
        del value["definition"]
        value["definition@odata.bind"] = definition
        value["#Definition_displayName"] = "Start page"
        for presented in value["presentationValues"]:
            presented["presentation@odata.bind"] = f"{definition}/presentations('{presented['presentation']['id']}')"
            del presented["presentation"]
    return form


def test_a_binding_and_an_expanded_object_have_the_same_fingerprint() -> None:
    assert fingerprint(normalised(KEY, as_other_tools_export_it())) == fingerprint(normalised(KEY, payload()))


def test_a_request_binds_to_the_tenants_own_service() -> None:
    [first, second] = [
        bound(value, LINK, ROOT) for value in restorable_body(KEY, as_other_tools_export_it())["definitionValues"]
    ]
    definition = (
        f"{ROOT}deviceManagement/groupPolicyDefinitions('{payload()['definitionValues'][0]['definition']['id']}')"
    )
    assert first["definition@odata.bind"] == definition
    assert first["presentationValues"][0]["presentation@odata.bind"].startswith(f"{definition}/presentations('")
    assert "definition" not in first
    assert second["enabled"] is False


@pytest.mark.parametrize(
    "definition",
    [{}, {"id": 7}, {"id": "x')/evil('"}, {"id": "../../x"}, None, "deviceManagement/other('x')", ["x"]],
)
@pytest.mark.parametrize("index", [0, 1])
def test_what_names_no_object_of_the_catalogue_is_never_sent(definition: object, index: int) -> None:
    form = payload()
    form["definitionValues"][index]["definition"] = definition
    value = restorable_body(KEY, form)["definitionValues"][index]
    with pytest.raises(PermanentError) as caught:
        bound(value, LINK, ROOT)
    assert caught.value.code is SafeCode.POLICY_NOT_CANONICAL


def test_the_order_of_values_does_not_change_the_fingerprint() -> None:
    other = deepcopy(payload())
    other["definitionValues"].reverse()
    assert fingerprint(normalised(KEY, other)) == fingerprint(normalised(KEY, payload()))
