"""The console's pages: each route turns a request into one call and its result into a page."""

from fastapi import APIRouter

from services.dispatcher.console.routes import assets, notifications, restoring, run, runs, signing_in, tenants

ROUTERS: tuple[APIRouter, ...] = (
    signing_in.router,
    signing_in.session,
    runs.router,
    run.router,
    restoring.router,
    tenants.router,
    notifications.router,
    assets.router,
)
