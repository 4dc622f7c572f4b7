"""`$batch`: up to twenty requests in one, each with its own status."""

from http import HTTPStatus
from typing import Any

import orjson

from simulator.graph import Request, split_url
from simulator.problems import GraphError, bad_request
from simulator.resource import Json
from simulator.service import Answer, Service
from simulator.validation import parse_json_object

_MOST = 20
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")


async def perform_batch(service: Service, request: Request) -> Answer:
    """Answer 200 with one entry per member in any order; 401 and 400 are about the batch as a whole."""
    try:
        caller = service.sign_in.caller(request.headers.get("authorization"), service.tenants)
    except GraphError as error:
        seq = service.record_batch(request, None, error.status, mutating=True)
        return service.refusal(error, f"batch-{seq}", request)
    try:
        members = _members(parse_json_object(request.body))
    except GraphError as error:
        seq = service.record_batch(request, caller.tenant_id, error.status, mutating=True)
        return service.refusal(error, f"batch-{seq}", request)
    calls = {str(member["id"]): _call(request, member) for member in members}
    mutating = any(call.writes for call in calls.values())
    seq = service.record_batch(request, caller.tenant_id, HTTPStatus.OK, mutating=mutating)
    responses: dict[str, Json] = {}
    for member in members:
        number = str(member["id"])
        parents = [responses.get(str(parent), {"status": 424}) for parent in member.get("dependsOn") or []]
        if any(parent["status"] >= HTTPStatus.BAD_REQUEST for parent in parents):
            responses[number] = _response(number, _failed_dependency(service, calls[number], seq))
        else:
            responses[number] = _response(number, await service.perform(calls[number], batch_seq=seq))
    entries = list(responses.values())
    if service.settings.shuffle_batches:
        service.random.shuffle(entries)
    return Answer(HTTPStatus.OK, {"responses": entries}, {"request-id": f"batch-{seq}"})


def _members(body: Json) -> list[Json]:
    members = body.get("requests")
    if not isinstance(members, list) or not members:
        raise bad_request("The batch has no 'requests'.")
    if len(members) > _MOST:
        raise bad_request(f"A batch holds at most {_MOST} requests.")
    ids = [member.get("id") if isinstance(member, dict) else None for member in members]
    if not all(isinstance(number, str) and number for number in ids) or len(set(ids)) != len(ids):
        raise bad_request("Every request of a batch needs an 'id' of its own, a string.")
    for member in members:
        url, method = member.get("url"), str(member.get("method", "")).upper()
        if method not in _METHODS or not isinstance(url, str) or "://" in url:
            raise bad_request("A request of a batch needs a known 'method' and a relative 'url'.")
        if member.get("body") is not None and "content-type" not in {
            name.lower() for name in member.get("headers") or {}
        }:
            raise bad_request("A request of a batch that has a body needs a Content-Type header.")
    return members


def _call(outer: Request, member: Json) -> Request:
    path, options = split_url(member["url"])
    version = outer.path.strip("/").partition("/")[0]
    headers = dict(outer.headers) | {name.lower(): str(value) for name, value in (member.get("headers") or {}).items()}
    headers["authorization"] = outer.headers.get("authorization", "")
    body: Any = member.get("body")
    return Request(
        method=str(member["method"]).upper(),
        path=f"/{version}/{path.strip('/')}",
        options=options,
        headers=headers,
        body=b"" if body is None else orjson.dumps(body),
        base=outer.base,
    )


def _failed_dependency(service: Service, call: Request, seq: int) -> Answer:
    error = GraphError(HTTPStatus.FAILED_DEPENDENCY, "FailedDependency", "A request that this one depends on failed.")
    return service.refusal(error, f"batch-{seq}", call)


def _response(number: str, answer: Answer) -> Json:
    """One member's entry; a dropped answer looks like a gateway's time-out."""
    if answer.dropped:
        return {"id": number, "status": int(HTTPStatus.GATEWAY_TIMEOUT), "headers": {}, "body": None}
    headers = {**answer.headers, "Content-Type": "application/json"}
    return {"id": number, "status": int(answer.status), "headers": headers, "body": answer.body}
