"""Style, script and icon."""

from fastapi import APIRouter, Response

from services.dispatcher.console.files import FILES, PLACE
from services.dispatcher.console.routing import OpenPage
from services.dispatcher.needs import OPEN
from shared.domain.errors import NotFoundError, SafeCode

router = APIRouter(prefix=PLACE, include_in_schema=False, route_class=OpenPage, dependencies=[OPEN])


@router.get("/{digest}/{name}", operation_id="getConsoleAsset")
async def get_asset(digest: str, name: str) -> Response:
    """Give a file; its address changes when it does."""
    file = FILES.get(name)
    if file is None or file.digest != digest:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    return Response(
        file.content, media_type=file.media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"}
    )
