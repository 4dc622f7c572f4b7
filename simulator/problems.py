"""Refusals in the shape that Graph gives them."""

from datetime import datetime
from http import HTTPStatus
from typing import Any


class GraphError(Exception):
    """A refusal: HTTP status, Graph's error code, and a message that never repeats a payload's values."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def body(self, now: datetime, request_id: str, client_request_id: str) -> dict[str, Any]:
        """Build Graph's error envelope."""
        inner = {
            "date": now.strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": request_id,
            "client-request-id": client_request_id,
        }
        return {"error": {"code": self.code, "message": self.message, "innerError": inner}}


def bad_request(message: str, code: str = "BadRequest") -> GraphError:
    """400: the request is not one that the service understands."""
    return GraphError(HTTPStatus.BAD_REQUEST, code, message)


def invalid_model(message: str) -> GraphError:
    """400: the body does not fit the type."""
    return bad_request(message, "ModelValidationFailure")


def not_found(what: str) -> GraphError:
    """404: no such object or resource in this tenant."""
    return GraphError(
        HTTPStatus.NOT_FOUND, "ResourceNotFound", f"Resource '{what}' does not exist or is not available."
    )


def no_route(segment: str) -> GraphError:
    """400: Graph's answer to a path it has no segment for."""
    return bad_request(f"Resource not found for the segment '{segment}'.")


def precondition_failed() -> GraphError:
    """412: the object is no longer as the `If-Match` says."""
    return GraphError(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed", "The ETag does not match the object's.")


def forbidden(message: str) -> GraphError:
    """403: the app lacks the permission."""
    return GraphError(HTTPStatus.FORBIDDEN, "Forbidden", message)


def bad_token(message: str) -> GraphError:
    """401 with Graph's code for missing, unknown and expired tokens."""
    headers = {"WWW-Authenticate": 'Bearer realm="", error="invalid_token"'}
    return GraphError(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", message, headers)
