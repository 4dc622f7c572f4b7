"""Every table, as SQLAlchemy Core. The database holds the laws: keys with the tenant, checks, unique indexes.

All times are `timestamptz`; all ids UUID version 7; all hashes lowercase SHA-256 hex, or veiled where a tenant's
content was hashed (ADR 26): `snapshot_sha256`, `before_sha256`, the fingerprints and `request_hash`.
"""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import UUID

from shared.domain.dead_messages import Resolution
from shared.domain.items import ItemState, Outcome
from shared.domain.operations import Role
from shared.domain.plans import MapDecision
from shared.domain.runs import ACTIVE, Lane, RunStatus, RunType, WaitReason

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NOW = func.clock_timestamp()
JSONB = postgresql.JSONB(none_as_null=True)  # None means SQL NULL, never the JSON value null


def _one_of(column: str, words: Iterable[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{word.value}'" for word in sorted(words))
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _tenant_fk(*columns: str, to: str, name: str | None = None) -> ForeignKeyConstraint:
    """Refer to another table with the tenant in the key, so that a reference across tenants cannot exist."""
    return ForeignKeyConstraint(["tenant_id", *columns], [f"{to}.tenant_id", *(f"{to}.id" for _ in columns)], name=name)


def _created() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW)


def _tenant() -> Column[object]:
    return Column("tenant_id", UUID(as_uuid=True), ForeignKey("tenants.id"), nullable=False)


def _id() -> Column[object]:
    return Column("id", UUID(as_uuid=True), nullable=False)


tenants = Table(
    "tenants",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("external_id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("connector", Text, nullable=False),
    Column("connection", JSONB, nullable=False, server_default=text("'{}'")),
    Column("status", Text, nullable=False, server_default="active"),
    _created(),
    CheckConstraint("status IN ('active', 'suspended', 'offboarded')", name="status"),
)

users = Table(
    "users",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("token_sha256", Text, unique=True),  # of the service token; the token itself is printed once
    Column("disabled_at", DateTime(timezone=True)),
    _created(),
    Column("oidc_issuer", Text),  # who vouches for the user, and under which name there (ADR 0025)
    Column("oidc_subject", Text),
    UniqueConstraint("oidc_issuer", "oidc_subject"),
    CheckConstraint("(oidc_issuer IS NULL) = (oidc_subject IS NULL)", name="identity_is_whole"),
)

memberships = Table(
    "memberships",
    metadata,
    _tenant(),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id"), nullable=False),
    Column("role", Text, nullable=False),
    _created(),
    PrimaryKeyConstraint("tenant_id", "user_id"),
    _one_of("role", Role),
    Index("ix_memberships_user_id", "user_id"),
)

# Signing in to the console: both belong to a person and to no tenant. Only hashes of what was given out are stored.

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("used_at", DateTime(timezone=True)),
    _created(),
    CheckConstraint("token_sha256 ~ '^[0-9a-f]{64}$'", name="token_sha256"),
    Index("ix_sign_in_links_user_id", "user_id", "created_at"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),  # however busy it is
    _created(),
    CheckConstraint("token_sha256 ~ '^[0-9a-f]{64}$'", name="token_sha256"),
    Index("ix_sessions_user_id", "user_id", "created_at"),
)

policies = Table(
    "policies",
    metadata,
    _tenant(),
    _id(),
    Column("policy_type", Text, nullable=False),
    Column("remote_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("natural_key", Text, nullable=False),
    Column("first_seen_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("last_seen_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("missing_since", DateTime(timezone=True)),  # not in the last listing of its type
    Column("snapshot_sha256", Text),  # of the latest capture
    Column("captured_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "policy_type", "remote_id"),
    ForeignKeyConstraint(["tenant_id", "snapshot_sha256"], ["snapshots.tenant_id", "snapshots.sha256"]),
    CheckConstraint("(snapshot_sha256 IS NULL) = (captured_at IS NULL)", name="capture_is_whole"),
)

data_keys = Table(
    "data_keys",
    metadata,
    _tenant(),
    Column("generation", Integer, nullable=False),  # 0 is the tenant's key for hashes; the newest seals
    Column("id", UUID(as_uuid=True), nullable=False, unique=True),
    Column("kek_id", Text, nullable=False),  # the key-encryption key that wraps it
    Column("wrapped", LargeBinary),  # NULL: destroyed
    Column("uses", BigInteger, nullable=False, server_default="0"),  # given out to processes; bounded
    Column("destroyed_at", DateTime(timezone=True)),
    _created(),
    PrimaryKeyConstraint("tenant_id", "generation"),
    CheckConstraint("(wrapped IS NULL) = (destroyed_at IS NOT NULL)", name="destroyed_is_gone"),
    CheckConstraint("generation >= 0 AND uses >= 0", name="counts"),
    Index("ix_data_keys_kek_id", "kek_id"),
)

tenant_credentials = Table(
    "tenant_credentials",
    metadata,
    Column("tenant_id", UUID(as_uuid=True), ForeignKey("tenants.id"), primary_key=True),
    Column("content", LargeBinary, nullable=False),  # sealed
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
)

snapshots = Table(
    "snapshots",
    metadata,
    _tenant(),
    Column("sha256", Text, nullable=False),  # of the canonical JSON before compression, veiled
    Column("content", LargeBinary, nullable=False),  # zstd, sealed
    Column("raw_bytes", Integer, nullable=False),
    _created(),
    PrimaryKeyConstraint("tenant_id", "sha256"),
    CheckConstraint("sha256 ~ '^[0-9A-Za-z_-]{64}$'", name="sha256"),
)

backup_sets = Table(
    "backup_sets",
    metadata,
    _tenant(),
    _id(),
    Column("name", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("completed_at", DateTime(timezone=True)),
    _created(),
    Column("source_tenant", Text),  # of an imported set: the directory that its archive names; empty if none
    Column("archive_sha256", Text),  # of the file that it was imported from
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "archive_sha256", "name"),  # the same import twice is one set
    CheckConstraint("(source_tenant IS NULL) = (archive_sha256 IS NULL)", name="import_is_whole"),
    Index("ix_backup_sets_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
)

backup_items = Table(
    "backup_items",
    metadata,
    _tenant(),
    _id(),
    Column("backup_set_id", UUID(as_uuid=True), nullable=False),
    Column("policy_id", UUID(as_uuid=True)),
    Column("policy_type", Text, nullable=False),
    Column("remote_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("natural_key", Text, nullable=False),
    Column("snapshot_sha256", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),  # of the normalised payload
    Column("quality", Text, nullable=False),
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'")),
    Column("captured_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    # Of what an execution replaced (`shared.persistence.undoing`): kept so that it can be undone.
    Column("replaced", Boolean, nullable=False, server_default="false"),
    Column("absent", Boolean, nullable=False, server_default="false"),  # there was nothing: the execution created it
    Column("left_fingerprint", Text),  # of what the execution made of it; NULL: it deleted it
    Column("left_assignments_fingerprint", Text),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "backup_set_id", "policy_type", "remote_id"),
    _tenant_fk("backup_set_id", to="backup_sets"),
    _tenant_fk("policy_id", to="policies"),
    ForeignKeyConstraint(["tenant_id", "snapshot_sha256"], ["snapshots.tenant_id", "snapshots.sha256"]),
    CheckConstraint("quality IN ('full', 'degraded', 'metadata_only')", name="quality"),
    CheckConstraint("replaced OR (NOT absent AND left_fingerprint IS NULL)", name="only_what_was_replaced_was_left"),
    CheckConstraint("NOT absent OR left_fingerprint IS NOT NULL", name="what_was_absent_was_created"),
)

# The trail outlives its tenants, and the house has one of its own (`HOUSE`): no reference to `tenants` (ADR 0030).
audit_logs = Table(
    "audit_logs",
    metadata,
    Column("tenant_id", UUID(as_uuid=True), nullable=False),
    _id(),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor_type", Text, nullable=False),
    Column("actor_id", UUID(as_uuid=True)),
    Column("actor_name", Text, nullable=False),
    Column("target_type", Text),
    Column("target_id", UUID(as_uuid=True)),
    Column("summary", Text, nullable=False),
    Column("context", JSONB, nullable=False, server_default=text("'{}'")),
    _created(),
    Column("sequence", BigInteger, nullable=False),  # this and the hashes: set by the trigger `link_audit_log`
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "sequence"),
    CheckConstraint("outcome IN ('success', 'failure', 'partial', 'info', 'blocked')", name="outcome"),
    CheckConstraint("actor_type IN ('user', 'system', 'upstream')", name="actor_type"),
    Index("ix_audit_logs_target", "tenant_id", "target_id", "created_at"),
)

# The end of each tenant's chain; written by the trigger of `audit_logs` alone.
audit_heads = Table(
    "audit_heads",
    metadata,
    Column("tenant_id", UUID(as_uuid=True), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
)

# Heads that were also written down elsewhere. `anchored_at` is the text that was signed.
audit_anchors = Table(
    "audit_anchors",
    metadata,
    Column("tenant_id", UUID(as_uuid=True), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("anchored_at", Text, nullable=False),
    Column("signature", Text),
    PrimaryKeyConstraint("tenant_id", "sequence"),
)


def _orchestration(finished: str) -> list[Column[object] | CheckConstraint]:
    """Columns and checks that both run tables carry, beside their own."""
    return [
        Column("operation", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("idempotency_key", Text, nullable=False),
        Column("requested_by", Text, nullable=False),
        Column("lane", Text, nullable=False),
        Column("writes", Boolean, nullable=False),
        Column("selector", JSONB),
        Column("total_items", Integer),
        Column("processed_items", Integer, nullable=False, server_default="0"),
        Column("succeeded", Integer, nullable=False, server_default="0"),
        Column("failed", Integer, nullable=False, server_default="0"),
        Column("skipped", Integer, nullable=False, server_default="0"),
        Column("event_seq", Integer, nullable=False, server_default="0"),
        Column("attempt", Integer, nullable=False, server_default="0"),  # times a worker took the run up
        Column("abandoned", Integer, nullable=False, server_default="0"),  # times in a row that its worker was lost
        Column("lease_owner", Text),
        Column("lease_wake_up", UUID(as_uuid=True)),  # the message that the holder is working on
        Column("lease_epoch", BigInteger, nullable=False, server_default="0"),
        Column("lease_until", DateTime(timezone=True)),
        Column("woken_at", DateTime(timezone=True), nullable=False, server_default=_NOW),  # last wake-up was due
        Column("waiting_since", DateTime(timezone=True), nullable=False, server_default=_NOW),  # for its next turn
        Column("turn_until", DateTime(timezone=True)),  # given a slot, not taken up yet
        Column("wait_reason", Text),
        Column("wait_until", DateTime(timezone=True)),
        Column("expanded_at", DateTime(timezone=True)),  # the item rows exist
        Column("first_open", Integer, nullable=False, server_default="0"),  # every item before this ordinal is final
        Column("abort_requested_at", DateTime(timezone=True)),
        Column("deadline_at", DateTime(timezone=True)),
        Column("retry_of", UUID(as_uuid=True)),
        Column("error_code", Text),
        Column("error_context", JSONB),
        Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
        Column("started_at", DateTime(timezone=True)),
        Column(finished, DateTime(timezone=True)),
        _one_of("status", RunStatus),
        _one_of("lane", Lane),
        _one_of("wait_reason", WaitReason),
        CheckConstraint("idempotency_key ~ '^[0-9a-f]{64}$'", name="idempotency_key"),
        CheckConstraint("succeeded >= 0 AND failed >= 0 AND skipped >= 0", name="counters_not_negative"),
        CheckConstraint("processed_items = succeeded + failed + skipped", name="processed_is_the_sum"),
        CheckConstraint("total_items IS NULL OR processed_items <= total_items", name="processed_within_total"),
        CheckConstraint(f"(status IN ({_ACTIVE_WORDS})) = ({finished} IS NULL)", name="terminal_is_finished"),
        CheckConstraint("(lease_owner IS NULL) = (lease_until IS NULL)", name="lease_is_whole"),
        CheckConstraint(f"lease_until IS NULL OR status IN ({_ACTIVE_WORDS})", name="no_lease_when_finished"),
    ]


_ACTIVE_WORDS = ", ".join(f"'{status.value}'" for status in sorted(ACTIVE))


def _run_indexes(table: str, finished: str) -> list[Index]:
    return [
        Index(
            f"uq_{table}_active_identity",
            "tenant_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text(f"status IN ({_ACTIVE_WORDS})"),
        ),
        Index(f"ix_{table}_newest", "tenant_id", text("created_at DESC"), text("id DESC")),
        Index(
            f"ix_{table}_leased",
            "tenant_id",
            postgresql_where=text("lease_until IS NOT NULL OR turn_until IS NOT NULL"),
        ),
        Index(f"ix_{table}_active", "woken_at", postgresql_where=text(f"status IN ({_ACTIVE_WORDS})")),
        Index(
            f"ix_{table}_waiting",
            "tenant_id",
            "waiting_since",
            postgresql_where=text("wait_reason = 'tenant_cap'"),
        ),
        Index(f"ix_{table}_paused", "woken_at", postgresql_where=text("wait_reason = 'paused'")),
        Index(f"ix_{table}_finished", finished, postgresql_where=text(f"{finished} IS NOT NULL")),
    ]


restore_runs = Table(
    "restore_runs",
    metadata,
    _tenant(),
    _id(),
    Column("backup_set_id", UUID(as_uuid=True), nullable=False),
    Column("preview_run_id", UUID(as_uuid=True)),  # of an execution: the preview that it carries out
    Column("undo_of", UUID(as_uuid=True)),  # the execution that this run takes back
    Column("initiator_id", UUID(as_uuid=True), ForeignKey("users.id")),
    Column("is_dry_run", Boolean, nullable=False),
    Column("requested_items", JSONB),
    Column("plan_hash", Text),
    Column("preview", JSONB),
    Column("results", JSONB),
    Column("failure_reason", Text),
    *_orchestration("completed_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    _tenant_fk("backup_set_id", to="backup_sets"),
    _tenant_fk("preview_run_id", to="restore_runs"),
    _tenant_fk("undo_of", to="restore_runs"),
    _tenant_fk("retry_of", to="restore_runs"),
    CheckConstraint("is_dry_run = NOT writes", name="a_dry_run_never_writes"),
    CheckConstraint("is_dry_run = (preview_run_id IS NULL)", name="an_execution_has_a_preview"),
    *_run_indexes("restore_runs", "completed_at"),
)

bulk_operation_runs = Table(
    "bulk_operation_runs",
    metadata,
    _tenant(),
    _id(),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id")),
    Column("resource", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target_id", UUID(as_uuid=True)),
    Column("item_ids", JSONB),
    Column("results", JSONB),
    Column("failures", JSONB),
    Column("audit_log_id", UUID(as_uuid=True)),
    *_orchestration("finished_at"),
    PrimaryKeyConstraint("tenant_id", "id"),
    _tenant_fk("retry_of", to="bulk_operation_runs"),
    _tenant_fk("audit_log_id", to="audit_logs"),
    CheckConstraint("operation = resource || '.' || action", name="operation_is_resource_and_action"),
    CheckConstraint("NOT writes", name="bulk_operations_never_write"),
    *_run_indexes("bulk_operation_runs", "finished_at"),
)


def _item_columns() -> list[Column[object] | CheckConstraint]:
    return [
        Column("tenant_id", UUID(as_uuid=True), nullable=False),  # the run's key proves that it exists
        Column("run_id", UUID(as_uuid=True), nullable=False),
        Column("ordinal", Integer, nullable=False),
        Column("item_id", UUID(as_uuid=True), nullable=False),
        Column("phase", SmallInteger, nullable=False, server_default="0"),
        Column("state", Text, nullable=False, server_default="pending"),
        Column("outcome", Text),
        Column("label", Text, nullable=False),
        Column("policy_type", Text, nullable=False),
        Column("attempt", Integer, nullable=False, server_default="0"),
        Column("not_before", DateTime(timezone=True)),
        Column("error_code", Text),
        Column("error_context", JSONB),
        Column("remote_id", Text),
        Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
        _one_of("state", ItemState),
        _one_of("outcome", Outcome),
        CheckConstraint("(state IN ('pending', 'intent')) = (outcome IS NULL)", name="final_has_an_outcome"),
        CheckConstraint("attempt >= 0", name="attempt"),
    ]


# No index may know an item's state: then its update is written into the same page (HOT) and touches none at all. The
# room for it is left free from the beginning. Open items are found from the run's `first_open` on.
_ROOM_TO_UPDATE = {"fillfactor": 45}


restore_run_items = Table(
    "restore_run_items",
    metadata,
    *_item_columns(),
    Column("plan", JSONB),  # the plan entry; what would change is sealed in it
    Column("step", Text),  # of the open or last intent: write, assign, delete
    Column("request_hash", Text),
    Column("intent_epoch", BigInteger),
    Column("intent_at", DateTime(timezone=True)),
    Column("before_sha256", Text),  # the live object before the first write; NULL: there was none
    Column("left_fingerprint", Text),  # of what the writes make of it; NULL: they delete it
    Column("left_assignments_fingerprint", Text),
    PrimaryKeyConstraint("tenant_id", "run_id", "ordinal"),
    UniqueConstraint("item_id", "run_id", "tenant_id"),  # not led like the key: the planner would confuse them
    ForeignKeyConstraint(["tenant_id", "run_id"], ["restore_runs.tenant_id", "restore_runs.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["tenant_id", "before_sha256"], ["snapshots.tenant_id", "snapshots.sha256"]),
    CheckConstraint("state <> 'intent' OR (request_hash IS NOT NULL AND step IS NOT NULL)", name="intent_is_whole"),
    postgresql_with=_ROOM_TO_UPDATE,
)

restore_id_map = Table(  # of an execution: what became of the backup's ids, and what was meant by them
    "restore_id_map",
    metadata,
    Column("tenant_id", UUID(as_uuid=True), nullable=False),  # the run's key proves that it exists
    Column("run_id", UUID(as_uuid=True), nullable=False),
    Column("policy_type", Text, nullable=False),  # `group` for a group
    Column("source_id", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "run_id", "policy_type", "source_id"),
    ForeignKeyConstraint(["tenant_id", "run_id"], ["restore_runs.tenant_id", "restore_runs.id"], ondelete="CASCADE"),
    _one_of("decision", MapDecision),
)

bulk_operation_run_items = Table(
    "bulk_operation_run_items",
    metadata,
    *_item_columns(),
    PrimaryKeyConstraint("tenant_id", "run_id", "ordinal"),
    UniqueConstraint("item_id", "run_id", "tenant_id"),  # not led like the key: the planner would confuse them
    ForeignKeyConstraint(
        ["tenant_id", "run_id"], ["bulk_operation_runs.tenant_id", "bulk_operation_runs.id"], ondelete="CASCADE"
    ),
    CheckConstraint("state <> 'intent'", name="bulk_items_never_write"),
    postgresql_with=_ROOM_TO_UPDATE,
)

run_watchers = Table(
    "run_watchers",
    metadata,
    _tenant(),
    Column("run_type", Text, nullable=False),
    Column("run_id", UUID(as_uuid=True), nullable=False),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id"), nullable=False),
    _created(),
    PrimaryKeyConstraint("tenant_id", "run_type", "run_id", "user_id"),
    _one_of("run_type", RunType),
)

notifications = Table(
    "notifications",
    metadata,
    _tenant(),
    _id(),
    Column("user_id", UUID(as_uuid=True), ForeignKey("users.id"), nullable=False),
    Column("run_type", Text, nullable=False),
    Column("run_id", UUID(as_uuid=True), nullable=False),
    Column("operation", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("counts", JSONB, nullable=False),
    Column("safe_error_code", Text),
    Column("safe_error_context", JSONB),
    Column("interrupts", Boolean, nullable=False),  # only the terminal one does
    Column("seen_at", DateTime(timezone=True)),
    Column("read_at", DateTime(timezone=True)),
    Column("archived_at", DateTime(timezone=True)),
    _created(),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "run_type", "run_id", "status", "user_id"),
    _one_of("run_type", RunType),
    _one_of("status", RunStatus),
    Index("ix_notifications_newest", "user_id", text("created_at DESC"), text("id DESC")),
    Index(
        "ix_notifications_unread",
        "user_id",
        postgresql_where=text("interrupts AND read_at IS NULL AND archived_at IS NULL"),
    ),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    _tenant(),
    Column("service", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", JSONB, nullable=False, server_default=text("'{}'")),
    Column("correlation_id", Text, nullable=False),
    Column("causation_id", Text),
    Column("available_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("claim_token", UUID(as_uuid=True)),
    Column("claimed_until", DateTime(timezone=True)),
    Column("refused_code", Text),  # the broker refuses it for good; kept as evidence
    _created(),
    Index("ix_outbox_due", "available_at", "id", postgresql_where=text("refused_code IS NULL")),
    Index("ix_outbox_refused", "tenant_id", "correlation_id", postgresql_where=text("refused_code IS NOT NULL")),
)

pauses = Table(
    "pauses",
    metadata,
    _tenant(),
    Column("operation", Text, nullable=False),  # `*` stands for every operation
    Column("reason", Text, nullable=False),
    Column("paused_by", Text, nullable=False),
    _created(),
    PrimaryKeyConstraint("tenant_id", "operation"),
)

paused_operations = Table(  # for all tenants
    "paused_operations",
    metadata,
    Column("operation", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("paused_by", Text, nullable=False),
    _created(),
)

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    _tenant(),
    Column("body_sha256", Text, nullable=False),
    Column("run_type", Text),
    Column("run_id", UUID(as_uuid=True)),
    Column("processed_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("tenant_id", "consumer", "message_id"),
    Index("ix_inbox_processed_at", "processed_at"),
)

dead_messages = Table(
    "dead_messages",
    metadata,
    _tenant(),
    Column("queue", Text, nullable=False),  # where the message waits: `restore.dead`, `bulk.parked`, `unrouted`
    Column("message_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("service", Text),  # that failed on it or cannot read it
    Column("run_type", Text),
    Column("run_id", UUID(as_uuid=True)),
    Column("code", Text, nullable=False),
    Column("first_failed_at", DateTime(timezone=True)),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("resolved_at", DateTime(timezone=True)),
    Column("resolution", Text),
    PrimaryKeyConstraint("tenant_id", "queue", "message_id"),
    _one_of("run_type", RunType),
    _one_of("resolution", Resolution),
    CheckConstraint("(run_type IS NULL) = (run_id IS NULL)", name="run_is_whole"),
    CheckConstraint("(resolved_at IS NULL) = (resolution IS NULL)", name="resolution_is_whole"),
    Index("ix_dead_messages_run_id", "tenant_id", "run_id"),
    Index("ix_dead_messages_waiting", "queue", postgresql_where=text("resolved_at IS NULL")),
)

archives = Table(
    "archives",
    metadata,
    _tenant(),
    _id(),
    Column("run_id", UUID(as_uuid=True), nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    _created(),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "run_id"),
    CheckConstraint("id = run_id", name="has_the_id_of_its_run"),
    ForeignKeyConstraint(
        ["tenant_id", "run_id"], ["bulk_operation_runs.tenant_id", "bulk_operation_runs.id"], ondelete="CASCADE"
    ),
)

archive_chunks = Table(
    "archive_chunks",
    metadata,
    _tenant(),
    Column("archive_id", UUID(as_uuid=True), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),  # sealed
    PrimaryKeyConstraint("tenant_id", "archive_id", "sequence"),
    # The chunks come before the archive's own row, which is written last and only when they are complete.
    ForeignKeyConstraint(
        ["tenant_id", "archive_id"], ["bulk_operation_runs.tenant_id", "bulk_operation_runs.id"], ondelete="CASCADE"
    ),
)

throttle_budgets = Table(
    "throttle_budgets",  # the law of these columns: shared.domain.budget
    metadata,
    _tenant(),
    Column("throttle_class", Text, nullable=False),
    Column("factor", Double, nullable=False, server_default="1"),
    Column("blocked_until", DateTime(timezone=True), nullable=False, server_default=text("'1970-01-01 00:00:00+00'")),
    Column("strikes", Integer, nullable=False, server_default="0"),
    Column("last_number", BigInteger, nullable=False, server_default="0"),
    Column("blocks", JSONB, nullable=False, server_default=text("'[]'")),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("tenant_id", "throttle_class"),
    CheckConstraint("factor > 0 AND factor <= 1", name="factor"),
)

# --- Upstream systems and what their keys may sign (ADR 29) ---
# The first two belong to no tenant: they say who may act for which. Only administrators write them.

upstreams = Table(
    "upstreams",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("all_tenants", Boolean, nullable=False),
    Column("tenant_ids", postgresql.ARRAY(UUID(as_uuid=True)), nullable=False),
    Column("operations", postgresql.ARRAY(Text), nullable=False),
    Column("created_by", Text, nullable=False),
    _created(),
    Column("removed_at", DateTime(timezone=True)),  # its keys are revoked; the row stays as evidence
    CheckConstraint("name ~ '^[a-z0-9][a-z0-9_.-]{0,99}$'", name="name"),
    CheckConstraint("all_tenants = (cardinality(tenant_ids) = 0)", name="all_or_some_tenants"),
    CheckConstraint("cardinality(operations) > 0", name="some_operations"),
    Index("uq_upstreams_name", "name", unique=True, postgresql_where=text("removed_at IS NULL")),
)

upstream_keys = Table(
    "upstream_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("upstream_id", UUID(as_uuid=True), ForeignKey("upstreams.id"), nullable=False),
    Column("public_key", LargeBinary, nullable=False),  # Ed25519; the private half is never here
    Column("valid_from", DateTime(timezone=True), nullable=False, server_default=_NOW),
    Column("valid_until", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("created_by", Text, nullable=False),
    _created(),
    UniqueConstraint("public_key"),
    CheckConstraint("octet_length(public_key) = 32", name="public_key"),
    CheckConstraint("valid_from < valid_until", name="valid_for_a_while"),
    Index("ix_upstream_keys_upstream_id", "upstream_id"),
)

redrives = Table(  # an operator's word that a signed command may be carried out though it is old
    "redrives",
    metadata,
    _tenant(),
    Column("message_id", Text, nullable=False),
    Column("body_sha256", Text, nullable=False),
    Column("authorised_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("authorised_at", DateTime(timezone=True), nullable=False, server_default=_NOW),
    PrimaryKeyConstraint("tenant_id", "message_id", "body_sha256"),
    CheckConstraint("body_sha256 ~ '^[0-9a-f]{64}$'", name="body_sha256"),
)
