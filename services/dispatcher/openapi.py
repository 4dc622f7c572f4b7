"""The OpenAPI document as it is committed: `python -m services.dispatcher.openapi > docs/reference/openapi.json`."""

import json
import sys
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from services.dispatcher.problems import MEDIA_TYPE

_FIRST_ERROR = 400


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document; errors have the media type that they travel with."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, openapi_version="3.1.0", description=_ABOUT, routes=app.routes
        )
        for path, methods in schema["paths"].items():
            for operation in methods.values():
                _mend(operation, errors=path != "/readyz")
        for name in ("HTTPValidationError", "ValidationError"):  # the framework's own; ours are problems
            schema["components"]["schemas"].pop(name, None)
        app.openapi_schema = schema
    return app.openapi_schema


def text(app: FastAPI) -> str:
    """Return the document as it is committed."""
    return json.dumps(document(app), indent=2, sort_keys=True) + "\n"


def _mend(operation: dict[str, Any], *, errors: bool) -> None:
    answers = operation["responses"]
    if "HTTPValidationError" in json.dumps(answers.get("422")):
        del answers["422"]
    for status, answer in answers.items():
        content = answer.get("content", {})
        if errors and int(status) >= _FIRST_ERROR and "application/json" in content:
            answer["content"] = {MEDIA_TYPE: content["application/json"]}


_ABOUT = (
    "Starts of backup and restore work for many tenants, and how it goes. A start answers at once with the run:"
    " 201 for a new one, 200 when an identical active run was joined. Errors are problems (RFC 9457) with a stable"
    " `code`. Lists have cursors; `next` is absent at the end."
)


def main() -> None:
    """Print the document."""
    from services.dispatcher.app import create_app  # noqa: PLC0415  the app imports this module

    sys.stdout.write(text(create_app()))


if __name__ == "__main__":
    main()
