"""The HTTP API: each route turns a request into one call and its result into a view."""

from fastapi import APIRouter

from services.dispatcher.routes import events, imports, notifications, pauses, runs, starts, stored

ROUTERS: tuple[APIRouter, ...] = (
    starts.router,
    runs.router,
    events.router,
    stored.router,
    imports.router,
    pauses.router,
    notifications.router,
)
