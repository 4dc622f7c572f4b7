"""The HTTP API: each route turns a request into one call and its result into a view."""

from fastapi import APIRouter

from services.dispatcher.routes import events, notifications, pauses, runs, starts, stored

ROUTERS: tuple[APIRouter, ...] = (
    starts.router,
    runs.router,
    events.router,
    stored.router,
    pauses.router,
    notifications.router,
)
