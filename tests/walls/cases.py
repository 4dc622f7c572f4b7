"""One request, or several, for each route: as it is right for somebody who may make it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from services.dispatcher.console.files import address_of
from services.dispatcher.views import PATHS
from shared.domain.capabilities import Capability
from shared.domain.operations import OPERATIONS
from shared.domain.runs import RunType
from shared.domain.sessions import new_token
from tests.support.archives import an_archive
from tests.walls.stage import Stage

OK = frozenset({200})
STARTED = frozenset({200, 201})  # new, or the active one was joined
ABORTED = frozenset({202, 409})  # or somebody did before
NOT_FOUND = frozenset({404})
DONE = frozenset({303})  # a form, which leads to a page
GONE = frozenset({410})


@dataclass(frozen=True)
class Case:
    """A request to a route. `foreign` is what an owner of another tenant is told who names these objects there."""

    operation_id: str
    capability: Capability | None
    path: Callable[[Stage, UUID | None], str]  # below the tenant's own path; the id is the caller's
    allowed: frozenset[int] = OK
    body: Callable[[Stage], Any] | None = None
    form: Callable[[Stage], dict[str, str]] | None = None  # of the console
    content: bytes | None = None
    foreign: frozenset[int] | None = None  # None: it names nothing that is anybody's
    is_own: bool = False  # whoever does not belong to the tenant has no such thing

    def __str__(self) -> str:
        return f"{self.operation_id} ({self.capability})"


def cases() -> tuple[Case, ...]:
    """Every case."""
    return (*_platform(), *_views(), *_starts(), *_follow_ups(), *_work(), *_notifications(), *_console())


def _platform() -> Iterable[Case]:
    for operation_id, path in (("getHealth", "/healthz"), ("getReadiness", "/readyz"), ("getMetrics", "/metrics")):
        yield Case(operation_id, None, lambda _stage, _who, path=path: path)


def _views() -> Iterable[Case]:
    yield Case("getTenant", Capability.TENANT_VIEW, lambda _stage, _who: "")
    yield Case("listRuns", Capability.RUN_VIEW, lambda _stage, _who: "/runs")
    yield Case("listBackupSets", Capability.BACKUP_VIEW, lambda _stage, _who: "/backup-sets")
    yield Case("listPolicies", Capability.BACKUP_VIEW, lambda _stage, _who: "/policies")
    for operation_id, below in (("getBackupSet", ""), ("listBackupItems", "/items")):
        yield Case(
            operation_id,
            Capability.BACKUP_VIEW,
            lambda stage, _who, below=below: f"/backup-sets/{stage.backup_set}{below}",
            foreign=NOT_FOUND,
        )
    views = {
        RunType.RESTORE: {
            "getRestoreRun": "",
            "listRestoreRunItems": "/items",
            "getPreview": "/preview",
            "listIdMap": "/id-map",
        },
        RunType.BULK: {"getBulkOperationRun": "", "listBulkOperationRunItems": "/items"},
    }
    of = {RunType.RESTORE: "restore.preview", RunType.BULK: "policy.sync"}
    for run_type, below in views.items():
        for operation_id, path in below.items():
            yield Case(
                operation_id,
                Capability.RUN_VIEW,
                lambda stage, _who, t=run_type, p=path: f"/{PATHS[t]}/{stage.ended[of[t]]}{p}",
                foreign=NOT_FOUND,
            )
    for run_type, operation_id in (
        (RunType.RESTORE, "watchRestoreRun"),
        (RunType.BULK, "watchBulkOperationRun"),
    ):
        yield Case(
            operation_id,
            Capability.RUN_VIEW,
            lambda stage, _who, t=run_type: f"/{PATHS[t]}/{stage.ended[of[t]]}/events?after=1000",
            frozenset({204}),  # it is over, and the caller knows
            foreign=NOT_FOUND,
        )
    yield Case(
        "downloadArchive",
        Capability.ARCHIVE_DOWNLOAD,
        lambda stage, _who: f"/{PATHS[RunType.BULK]}/{stage.archive}/archive",
        foreign=NOT_FOUND,
    )


BODIES: dict[str, tuple[Callable[[Stage], dict[str, Any]], frozenset[int] | None]] = {
    "policy.sync": (lambda _stage: {}, None),
    "policy.capture_snapshot": (lambda stage: {"target_id": str(stage.policies[0])}, NOT_FOUND),
    "policy.export": (lambda stage: {"item_ids": _texts(stage.policies)}, frozenset({422})),
    "backup_set.create": (lambda stage: {"item_ids": _texts(stage.policies)}, frozenset({422})),
    "backup_set.add_policies": (
        lambda stage: {"target_id": str(stage.backup_set), "item_ids": _texts(stage.policies)},
        NOT_FOUND,
    ),
    "backup_set.export": (lambda stage: {"target_id": str(stage.backup_set)}, NOT_FOUND),
    "restore.preview": (lambda stage: {"backup_set_id": str(stage.backup_set)}, NOT_FOUND),
    "restore.execute": (lambda stage: {"is_dry_run": False, "preview_run_id": str(stage.preview)}, NOT_FOUND),
}


def _starts() -> Iterable[Case]:
    for name, operation in OPERATIONS.items():
        body, foreign = BODIES[name]
        named = {"resource": operation.resource, "action": operation.action}
        is_restore = operation.run_type is RunType.RESTORE
        yield Case(
            "startRestoreRun" if is_restore else "startBulkOperationRun",
            operation.capability,
            lambda _stage, _who, t=operation.run_type: f"/{PATHS[t]}",
            STARTED,
            lambda stage, body=body, named={} if is_restore else named: {**named, **body(stage)},
            foreign=foreign,
        )


def _follow_ups() -> Iterable[Case]:
    for name, operation in OPERATIONS.items():
        kind = "RestoreRun" if operation.run_type is RunType.RESTORE else "BulkOperationRun"
        place = f"/{PATHS[operation.run_type]}"
        yield Case(
            f"abort{kind}",
            operation.capability,
            lambda stage, _who, n=name, p=place: f"{p}/{stage.active[n]}/abort",
            ABORTED,
            foreign=NOT_FOUND,
        )
        yield Case(
            f"retryFailedOf{kind}",
            operation.capability,
            lambda stage, _who, n=name, p=place: f"{p}/{stage.ended[n]}/retry-failed",
            STARTED,
            lambda _stage: {},
            foreign=NOT_FOUND,
        )
    yield Case(
        "undoRestoreRun",
        Capability.RESTORE_EXECUTE,
        lambda stage, _who: f"/{PATHS[RunType.RESTORE]}/{stage.ended['restore.execute']}/undo",
        frozenset({422}),  # it has written nothing that could be taken back
        foreign=NOT_FOUND,
    )


def _work() -> Iterable[Case]:
    for operation_id, path in (("pauseTenant", "/pause"), ("resumeTenant", "/resume")):
        yield Case(
            operation_id,
            Capability.WORK_PAUSE,
            lambda _stage, _who, path=path: path,
            body=lambda _stage: {"operation": "policy.export", "reason": "to see who may"},
        )
    yield Case(
        "importBackupSet",
        Capability.BACKUP_IMPORT,
        lambda _stage, _who: "/backup-sets/import",
        STARTED,
        content=an_archive(),
    )


def _notifications() -> Iterable[Case]:
    own = Capability.NOTIFICATIONS
    yield Case("listNotifications", own, lambda _stage, _who: "")
    for operation_id, word in (("readNotification", "read"), ("archiveNotification", "archive")):
        yield Case(
            operation_id,
            own,
            lambda stage, who, w=word: f"/{stage.notifications[who] if who else uuid4()}/{w}",
            is_own=True,
        )
        yield Case(  # somebody else's is nobody's
            operation_id,
            own,
            lambda stage, who, w=word: f"/{next(n for u, n in stage.notifications.items() if u != who)}/{w}",
            NOT_FOUND,
        )
    yield Case("readAllNotifications", own, lambda _stage, _who: "/read-all")


def _console() -> Iterable[Case]:
    file = address_of("console.css")
    for operation_id, path in (("getConsoleAsset", file), ("showSignIn", "/console/sign-in")):
        yield Case(operation_id, None, lambda _stage, _who, path=path: path)
    yield Case("signIn", None, lambda _stage, _who: "/console/sign-in", GONE, form=lambda _stage: {"link": new_token()})
    yield Case("showHome", Capability.SESSION, lambda _stage, _who: "/console", DONE)
    yield Case("showRuns", Capability.RUN_VIEW, lambda _stage, _who: "/console/runs?q=status:failed")
    yield Case("showTenants", Capability.TENANT_VIEW, lambda _stage, _who: "/console/tenants")
    yield from _runs_at_the_console()
    yield from _wizard()
    yield from _inbox_at_the_console()
    # The last one: it ends the session.
    yield Case("signOut", Capability.SESSION, lambda _stage, _who: "/console/sign-out", DONE, form=lambda _stage: {})


def _runs_at_the_console() -> Iterable[Case]:
    for name, operation in OPERATIONS.items():
        kind = "RestoreRun" if operation.run_type is RunType.RESTORE else "BulkOperationRun"
        place = f"/{PATHS[operation.run_type]}"
        if name in ("restore.preview", "policy.sync"):
            for operation_id, below, allowed in (("show", "", OK), ("follow", "/events?after=1000", frozenset({204}))):
                yield Case(
                    f"{operation_id}{kind}",
                    Capability.RUN_VIEW,
                    lambda stage, _who, n=name, p=place, b=below: f"{p}/{stage.ended[n]}{b}",
                    allowed,
                    foreign=NOT_FOUND,
                )
        if name == "restore.preview":
            yield Case(
                "showPlan",
                Capability.RUN_VIEW,
                lambda stage, _who, n=name, p=place: f"{p}/{stage.ended[n]}/plan",
                foreign=NOT_FOUND,
            )
        yield Case(
            f"pressAbort{kind}",
            operation.capability,
            lambda stage, _who, n=name, p=place: f"{p}/{stage.active[n]}/abort",
            DONE | {409},  # or somebody did before
            form=lambda _stage: {},
            foreign=NOT_FOUND,
        )
        yield Case(
            f"pressRetryOf{kind}",
            operation.capability,
            lambda stage, _who, n=name, p=place: f"{p}/{stage.ended[n]}/retry-failed",
            DONE,
            form=lambda _stage: {},
            foreign=NOT_FOUND,
        )
    yield Case(
        "pressUndoRestoreRun",
        Capability.RESTORE_EXECUTE,
        lambda stage, _who: f"/{PATHS[RunType.RESTORE]}/{stage.ended['restore.execute']}/undo",
        frozenset({422}),  # it has written nothing that could be taken back
        form=lambda _stage: {},
        foreign=NOT_FOUND,
    )


def _wizard() -> Iterable[Case]:
    step, preview = "/restore", Capability.RESTORE_PREVIEW
    yield Case("showRestoreWizard", preview, lambda _stage, _who: step)
    yield Case(
        "showRestoreWizard",
        preview,
        lambda stage, _who: f"{step}?backup_set={stage.backup_set}",
        foreign=NOT_FOUND,
    )
    yield Case(
        "pressPreview",
        preview,
        lambda stage, _who: f"{step}?backup_set={stage.backup_set}",
        DONE,
        form=lambda _stage: {"extent": "all"},
        foreign=NOT_FOUND,
    )
    yield Case(
        "showRestoreStep",
        Capability.RUN_VIEW,
        lambda stage, _who: f"{step}/{stage.ended['restore.preview']}",
        foreign=NOT_FOUND,
    )
    for operation_id, below, capability in (
        ("pressLeaveOutBlocked", "leave-out", preview),
        ("pressExecute", "execute", Capability.RESTORE_EXECUTE),
    ):
        yield Case(
            operation_id,
            capability,
            lambda stage, _who, b=below: f"{step}/{stage.ended['restore.preview']}/{b}",
            frozenset({422}),  # it has planned nothing that could be executed
            form=lambda _stage: {},
            foreign=NOT_FOUND,
        )


def _inbox_at_the_console() -> Iterable[Case]:
    own, inbox = Capability.NOTIFICATIONS, "/console/notifications"
    yield Case("showNotifications", own, lambda _stage, _who: inbox)
    for operation_id, word in (("pressReadNotification", "read"), ("pressArchiveNotification", "archive")):
        yield Case(
            operation_id,
            own,
            lambda stage, who, w=word: f"{inbox}/{stage.notifications[who] if who else uuid4()}/{w}",
            DONE,
            form=lambda _stage: {},
            is_own=True,
        )
        yield Case(  # somebody else's is nobody's
            operation_id,
            own,
            lambda stage, who, w=word: f"{inbox}/{next(n for u, n in stage.notifications.items() if u != who)}/{w}",
            NOT_FOUND,
            form=lambda _stage: {},
        )
    yield Case("pressReadAllNotifications", own, lambda _stage, _who: f"{inbox}/read-all", DONE, form=lambda _stage: {})


def _texts(ids: Iterable[UUID]) -> list[str]:
    return [str(one) for one in ids]
