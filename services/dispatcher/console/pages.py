"""Templates to pages. Everything that is shown is escaped, and a name that a template does not get is a defect."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.dispatcher.console import words
from services.dispatcher.console.files import address_of
from services.dispatcher.problems import status_of
from shared.domain.error_texts import ERROR_TEXTS
from shared.domain.errors import SafeCode

_CHALLENGE = "Session"  # no scheme of HTTP's: a browser must not ask for a password

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals["asset"] = address_of
_environment.filters.update(words.FILTERS)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401  what it shows
    """Return a page with who is signed in, if anybody is."""
    principal = getattr(request.state, "principal", None)
    text = _environment.get_template(template).render(
        **values,
        person=principal,
        form_token=getattr(request.state, "form_token", None),
        here=request.url.path,
    )
    return HTMLResponse(text, status)


def error_page(request: Request, code: SafeCode) -> Response:
    """Return the page for an error: what it means and what to do, and never what was sent."""
    status = status_of(code)
    place = request.url.path  # of a button of a run: back to the run
    back = place.rpartition("/")[0] if request.method == "POST" and "/tenants/" in place else None
    answer = page(request, "error.html", status.value, code=code.value, text=ERROR_TEXTS[code], back=back, unread=0)
    if status is HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = _CHALLENGE
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = "5"
    return answer
