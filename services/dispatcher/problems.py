"""Errors as `application/problem+json` (RFC 9457): a safe code and the names of fields, never what was in them."""

import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from shared.domain.error_texts import ERROR_TEXTS
from shared.domain.errors import ContextValue, ReinstateError, SafeCode, TooManyError, TransientError

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20  # a caller mends these first
MAX_FIELD = 100  # characters of a field's path: the names in it may be the caller's

_STATUS = {
    SafeCode.REQUEST_NOT_JSON: HTTPStatus.BAD_REQUEST,
    SafeCode.REQUEST_CURSOR_INVALID: HTTPStatus.BAD_REQUEST,
    SafeCode.AUTHZ_UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    SafeCode.AUTHZ_MISSING_CAPABILITY: HTTPStatus.FORBIDDEN,
    SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED: HTTPStatus.NOT_FOUND,
    SafeCode.AUTHZ_TENANT_NOT_OPERABLE: HTTPStatus.CONFLICT,
    SafeCode.RESOURCE_NOT_FOUND: HTTPStatus.NOT_FOUND,
    SafeCode.SCOPE_TENANT_MISMATCH: HTTPStatus.NOT_FOUND,
    SafeCode.POLICY_NOT_FOUND: HTTPStatus.NOT_FOUND,
    SafeCode.BACKUP_SET_NOT_FOUND: HTTPStatus.NOT_FOUND,
    SafeCode.REQUEST_METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    SafeCode.RUN_NOT_ACTIVE: HTTPStatus.CONFLICT,
    SafeCode.RUN_STILL_ACTIVE: HTTPStatus.CONFLICT,
    SafeCode.REQUEST_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    SafeCode.ARCHIVE_EXCEEDS_LIMITS: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    SafeCode.SERVICE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    SafeCode.SERVICE_OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
    SafeCode.RESTORE_PLAN_CHANGED: HTTPStatus.CONFLICT,
    SafeCode.RESTORE_PREVIEW_STALE: HTTPStatus.CONFLICT,
    SafeCode.INTERNAL_UNEXPECTED: HTTPStatus.INTERNAL_SERVER_ERROR,
    SafeCode.AUTHZ_TENANT_MISSING: HTTPStatus.NOT_FOUND,
    SafeCode.KEY_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    SafeCode.TENANT_SHREDDED: HTTPStatus.GONE,
    SafeCode.REQUEST_EXCEEDS_LIMITS: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    SafeCode.RATE_EXCEEDED: HTTPStatus.TOO_MANY_REQUESTS,
    SafeCode.QUOTA_ACTIVE_RUNS: HTTPStatus.TOO_MANY_REQUESTS,
    SafeCode.AUTHZ_SIGN_IN_LINK_INVALID: HTTPStatus.GONE,
    SafeCode.REQUEST_FORGED: HTTPStatus.FORBIDDEN,
}
_CODE_OF_STATUS = {
    HTTPStatus.BAD_REQUEST: SafeCode.REQUEST_NOT_JSON,
    HTTPStatus.NOT_FOUND: SafeCode.RESOURCE_NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: SafeCode.REQUEST_METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: SafeCode.REQUEST_TOO_LARGE,
}


class FieldError(BaseModel):
    """One field that is not as it should be. `reason` is a stable word; the value is never repeated."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"field": "body.item_ids", "reason": "uuid_parsing"}]})

    field: str
    reason: str


class Problem(BaseModel):
    """An error. `code` is stable and for programs; `title` and `detail` are for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:reinstate:error:selection.empty",
                    "title": "Nothing was selected",
                    "status": 422,
                    "detail": "Nothing was selected",
                    "instance": "/v1/tenants/0198c0de-0000-7000-8000-000000000001/bulk-operation-runs",
                    "code": "selection.empty",
                    "errors": [],
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[FieldError] = Field(default_factory=list)


def status_of(code: SafeCode) -> HTTPStatus:
    """Return the HTTP status that a safe code travels under."""
    return _STATUS.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)


def title_of(code: SafeCode) -> str:
    """Say in a few words what a code means."""
    return ERROR_TEXTS[code].title


def problem(
    path: str,
    code: SafeCode,
    *,
    context: Mapping[str, ContextValue] | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build the answer for an error at `path`."""
    status = status_of(code)
    title = title_of(code)
    numbers = {key: value for key, value in (context or {}).items() if key in ("count", "limit", "size", "status")}
    facts = ", ".join(f"{key} {value}" for key, value in sorted(numbers.items()))
    named = []
    if context and context.get("field"):
        named = [FieldError(field=str(context["field"]), reason=str(context.get("reason") or "invalid"))]
    body = Problem(
        type=f"urn:reinstate:error:{code.value}",
        title=title,
        status=status.value,
        detail=f"{title} ({facts})" if facts else title,
        instance=path,
        code=code.value,
        errors=[*errors, *named],
    )
    extra = dict(headers or {})
    if status is HTTPStatus.UNAUTHORIZED:
        extra["WWW-Authenticate"] = "Bearer"
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        extra.setdefault("Retry-After", "5")
    return Response(body.model_dump_json(), status.value, extra, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of ours and of the framework as a problem."""
    app.add_exception_handler(ReinstateError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_framework)


def code_of(error: Exception) -> SafeCode:
    """Return the code that somebody outside is told for an error of ours or of the framework; raise any other."""
    match error:
        case ReinstateError():
            return _code_of_ours(error)
        case RequestValidationError():
            return _code_of_validation(_places(error))
        case HTTPException():
            return _CODE_OF_STATUS.get(HTTPStatus(error.status_code), SafeCode.REQUEST_INVALID)
        case _:
            raise error


def _code_of_ours(error: ReinstateError) -> SafeCode:
    if isinstance(error, TransientError) and error.code is not SafeCode.SERVICE_OVERLOADED:
        return SafeCode.SERVICE_UNAVAILABLE
    if error.code is SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED:  # a stranger learns nothing about the tenant (D1)
        return SafeCode.RESOURCE_NOT_FOUND
    return error.code


def _code_of_validation(places: Sequence[tuple[tuple[Any, ...], str]]) -> SafeCode:
    if any(kind == "json_invalid" for _, kind in places):
        return SafeCode.REQUEST_NOT_JSON
    if any(loc[:1] == ("path",) for loc, _ in places):  # what is no id is nobody's id
        return SafeCode.RESOURCE_NOT_FOUND
    if any(loc[-1:] == ("item_ids",) and kind == "too_long" for loc, kind in places):
        return SafeCode.SELECTION_TOO_LARGE
    return SafeCode.REQUEST_INVALID


def _places(error: RequestValidationError) -> list[tuple[tuple[Any, ...], str]]:
    return [(tuple(detail["loc"]), str(detail["type"])) for detail in error.errors()]


async def _of_ours(request: Request, error: Exception) -> Response:
    if not isinstance(error, ReinstateError):
        raise error
    if isinstance(error, TooManyError):
        pause = str(max(1, math.ceil(error.retry_after)))
        return problem(request.url.path, error.code, context=error.context, headers={"Retry-After": pause})
    return problem(request.url.path, code_of(error), context=error.context)


async def _of_validation(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    places, code = _places(error), code_of(error)
    if code is not SafeCode.REQUEST_INVALID:
        return problem(request.url.path, code)
    errors = [FieldError(field=_field(loc), reason=kind) for loc, kind in places[:MAX_ERRORS]]
    return problem(request.url.path, code, errors=errors)


def _field(loc: Sequence[Any]) -> str:
    path = ".".join(str(part) for part in loc)
    return re.sub(r"[^\w.\-\[\]]", "?", path)[:MAX_FIELD]


async def _of_framework(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(request.url.path, code_of(error), headers=error.headers)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document these errors, and those that every route has, in OpenAPI."""
    described = {
        400: "Not JSON, or a cursor of another list",
        401: "Nobody is signed in",
        403: "The role does not allow it",
        404: "Not there, or not for this caller",
        409: "Not in this state",
        410: "The tenant's keys were destroyed: it cannot be read any more",
        413: "The body is too large",
        422: "Not as it should be; `errors` names the fields",
        429: "Too many in a short time, or too many active runs; `Retry-After` says when to come back",
        503: "Try again later",
    }
    return {status: {"model": Problem, "description": described[status]} for status in (*statuses, 401, 429, 503)}
