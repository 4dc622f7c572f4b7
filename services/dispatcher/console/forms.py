"""Forms: read, and refused unless a page of the console sent them in the session that it was made for."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from shared.domain.errors import PermanentError, SafeCode
from shared.domain.sessions import is_form_token

MAX_FORM = 64 * 1024  # bytes
FORM_TOKEN = "form_token"  # noqa: S105  a field's name
_MAX_FIELDS = 200
_URLENCODED = "application/x-www-form-urlencoded"


def check_origin(request: Request, origin: str | None) -> None:
    """Refuse a form of another site: raise `PermanentError(REQUEST_FORGED)`.

    Browsers say where a form comes from, and no page can make them say otherwise. What says neither is no browser.
    """
    site, said = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin") or (said is None and site is None):
        raise PermanentError(SafeCode.REQUEST_FORGED)
    if said is not None and not _is_own(said, request, origin):
        raise PermanentError(SafeCode.REQUEST_FORGED)


def check_form_token(form: Mapping[str, str], session_token: str) -> None:
    """Refuse a form without the session's own token: raise `PermanentError(REQUEST_FORGED)`."""
    if not is_form_token(form.get(FORM_TOKEN, ""), session_token):
        raise PermanentError(SafeCode.REQUEST_FORGED)


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the form's fields, each of which comes once; raise `PermanentError(REQUEST_INVALID)`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _URLENCODED:
        raise PermanentError(SafeCode.REQUEST_INVALID, field="content-type")
    try:
        text = (await request.body()).decode()
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise PermanentError(SafeCode.REQUEST_INVALID, field="form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise PermanentError(SafeCode.REQUEST_INVALID, field="form", reason="repeated")
    return form


def _is_own(said: str, request: Request, origin: str | None) -> bool:
    if origin is not None:
        return said == origin
    # A proxy may have taken TLS off, so that the scheme is not to be had; the host is.
    try:
        return urlsplit(said).netloc.lower() == request.headers.get("host", "").lower() != ""
    except ValueError:
        return False
