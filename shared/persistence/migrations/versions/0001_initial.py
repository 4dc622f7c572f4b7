"""The whole first schema."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The law of `shared.domain.items`, as it was when this schema was made; a test compares the two pair by pair. What stays
# open may stay what it is, a row with an end keeps it. Checked after the row is written: that costs no lock.
REFUSE_TRANSITION = """
    CREATE FUNCTION refuse_item_transition() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'item % of run %: % -> %', OLD.ordinal, OLD.run_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
    END $$
"""
ITEM_LAWS = [
    f"""
    CREATE TRIGGER tr_{table}_law AFTER UPDATE OF state, outcome ON {table} FOR EACH ROW WHEN (NOT (
        OLD.state = 'pending' AND NEW.state IN ('pending', 'intent', 'succeeded', 'failed', 'skipped')
        OR OLD.state = 'intent' AND NEW.state IN ('intent', 'pending', 'succeeded', 'failed', 'unknown')
    )) EXECUTE FUNCTION refuse_item_transition()
"""
    for table in ("restore_run_items", "bulk_operation_run_items")
]
# A preview writes nothing, so it intends nothing: whatever role its worker has.
REFUSE_INTENT = """
    CREATE FUNCTION refuse_intent_of_dry_run() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM restore_runs r
                   WHERE r.tenant_id = NEW.tenant_id AND r.id = NEW.run_id AND r.is_dry_run) THEN
            RAISE EXCEPTION 'item % of run %: a dry run intends nothing', NEW.ordinal, NEW.run_id
                USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME;
        END IF;
        RETURN NULL;
    END $$
"""
INTENT_LAW = """
    CREATE TRIGGER tr_restore_run_items_intent AFTER INSERT OR UPDATE OF state ON restore_run_items
    FOR EACH ROW WHEN (NEW.state = 'intent') EXECUTE FUNCTION refuse_intent_of_dry_run()
"""

# The law of `shared.domain.audit_chain`; a test compares the two row by row. The head is locked until the transaction
# ends, so the numbers of a tenant have no gaps, and a row's time is taken under that lock. The function runs as its
# owner: who may insert a row need not be able to write a head, nor to choose number, hash or time.
AUDIT_FIELD = """
    CREATE FUNCTION audit_field(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
        SELECT coalesce(octet_length(value) || ':' || value || ',', '-,')
    $$
"""
LINK_AUDIT_LOG = """
    CREATE FUNCTION link_audit_log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        SELECT sequence + 1, hash INTO NEW.sequence, NEW.previous_hash
            FROM audit_heads WHERE tenant_id = NEW.tenant_id FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            INSERT INTO audit_heads (tenant_id, sequence, hash) VALUES (NEW.tenant_id, 0, repeat('0', 64))
                ON CONFLICT DO NOTHING;
            SELECT sequence + 1, hash INTO NEW.sequence, NEW.previous_hash
                FROM audit_heads WHERE tenant_id = NEW.tenant_id FOR NO KEY UPDATE;
        END IF;
        NEW.created_at := clock_timestamp();
        NEW.hash := encode(sha256(convert_to(
            audit_field('reinstate-audit-v1') || audit_field(NEW.tenant_id::text) || audit_field(NEW.sequence::text)
            || audit_field(NEW.previous_hash) || audit_field(NEW.id::text) || audit_field(NEW.action)
            || audit_field(NEW.outcome) || audit_field(NEW.actor_type) || audit_field(NEW.actor_id::text)
            || audit_field(NEW.actor_name) || audit_field(NEW.target_type) || audit_field(NEW.target_id::text)
            || audit_field(NEW.summary) || audit_field(NEW.context::text)
            || audit_field(to_char(NEW.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
            'UTF8')), 'hex');
        UPDATE audit_heads SET sequence = NEW.sequence, hash = NEW.hash WHERE tenant_id = NEW.tenant_id;
        RETURN NEW;
    END $$
"""
REFUSE_AUDIT_CHANGE = """
    CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the audit trail is append only'
            USING ERRCODE = 'insufficient_privilege', TABLE = TG_TABLE_NAME;
    END $$
"""
AUDIT_LAWS = [
    """
    CREATE TRIGGER tr_audit_logs_link BEFORE INSERT ON audit_logs
        FOR EACH ROW EXECUTE FUNCTION link_audit_log()
    """,
    *(
        f"""
    CREATE TRIGGER tr_{table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
    """
        for table in ("audit_logs", "audit_anchors")
    ),
    """
    CREATE TRIGGER tr_audit_heads_kept BEFORE DELETE OR TRUNCATE ON audit_heads
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()
    """,
    """
    CREATE TRIGGER tr_audit_heads_by_trigger_only BEFORE INSERT OR UPDATE ON audit_heads
        FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_audit_change()
    """,
]


def upgrade() -> None:
    # ### commands auto generated by Alembic - please adjust! ###
    op.create_table(
        "tenants",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column(
            "connection",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("status IN ('active', 'suspended', 'offboarded')", name=op.f("ck_tenants_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("external_id", name=op.f("uq_tenants_external_id")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.Text(), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("oidc_issuer", sa.Text(), nullable=True),
        sa.Column("oidc_subject", sa.Text(), nullable=True),
        sa.CheckConstraint("(oidc_issuer IS NULL) = (oidc_subject IS NULL)", name=op.f("ck_users_identity_is_whole")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sa.UniqueConstraint("oidc_issuer", "oidc_subject", name=op.f("uq_users_oidc_issuer_oidc_subject")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_users_token_sha256")),
    )
    op.create_table(
        "audit_logs",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("actor_type", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.UUID(), nullable=True),
        sa.Column("actor_name", sa.Text(), nullable=False),
        sa.Column("target_type", sa.Text(), nullable=True),
        sa.Column("target_id", sa.UUID(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column(
            "context",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("actor_type IN ('user', 'system', 'upstream')", name=op.f("ck_audit_logs_actor_type")),
        sa.CheckConstraint(
            "outcome IN ('success', 'failure', 'partial', 'info', 'blocked')", name=op.f("ck_audit_logs_outcome")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_audit_logs")),
        sa.UniqueConstraint("tenant_id", "sequence", name=op.f("uq_audit_logs_tenant_id_sequence")),
    )
    op.create_index("ix_audit_logs_target", "audit_logs", ["tenant_id", "target_id", "created_at"], unique=False)
    op.create_table(
        "audit_heads",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_audit_heads")),
    )
    op.create_table(
        "audit_anchors",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("anchored_at", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "sequence", name=op.f("pk_audit_anchors")),
    )
    op.create_table(
        "backup_sets",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("source_tenant", sa.Text(), nullable=True),
        sa.Column("archive_sha256", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(source_tenant IS NULL) = (archive_sha256 IS NULL)", name=op.f("ck_backup_sets_import_is_whole")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_backup_sets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_backup_sets")),
        sa.UniqueConstraint(
            "tenant_id", "archive_sha256", "name", name=op.f("uq_backup_sets_tenant_id_archive_sha256_name")
        ),
    )
    op.create_index(
        "ix_backup_sets_newest",
        "backup_sets",
        ["tenant_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "paused_operations",
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("operation", name=op.f("pk_paused_operations")),
    )
    op.create_table(
        "pauses",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_pauses_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "operation", name=op.f("pk_pauses")),
    )
    op.create_table(
        "inbox",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("run_type", sa.Text(), nullable=True),
        sa.Column("run_id", sa.UUID(), nullable=True),
        sa.Column(
            "processed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_inbox_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "consumer", "message_id", name=op.f("pk_inbox")),
    )
    op.create_index("ix_inbox_processed_at", "inbox", ["processed_at"], unique=False)
    op.create_table(
        "memberships",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("role IN ('manager', 'operator', 'owner', 'readonly')", name=op.f("ck_memberships_role")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_memberships_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id")),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_memberships")),
    )
    op.create_index("ix_memberships_user_id", "memberships", ["user_id"], unique=False)
    op.create_table(
        "sign_in_links",
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("token_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_sign_in_links_token_sha256")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sign_in_links_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_sign_in_links")),
    )
    op.create_index("ix_sign_in_links_user_id", "sign_in_links", ["user_id", "created_at"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("token_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_sessions_token_sha256")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id", "created_at"], unique=False)
    op.create_table(
        "notifications",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column("run_type", sa.Text(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("counts", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("safe_error_code", sa.Text(), nullable=True),
        sa.Column("safe_error_context", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("interrupts", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("run_type IN ('bulk_operation_run', 'restore_run')", name=op.f("ck_notifications_run_type")),
        sa.CheckConstraint(
            "status IN ('aborted', 'failed', 'partial', 'queued', 'running', 'succeeded')",
            name=op.f("ck_notifications_status"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_notifications_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notifications_user_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_notifications")),
        sa.UniqueConstraint(
            "tenant_id",
            "run_type",
            "run_id",
            "status",
            "user_id",
            name=op.f("uq_notifications_tenant_id_run_type_run_id_status_user_id"),
        ),
    )
    op.create_index(
        "ix_notifications_newest",
        "notifications",
        ["user_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_notifications_unread",
        "notifications",
        ["user_id"],
        unique=False,
        postgresql_where=sa.text("interrupts AND read_at IS NULL AND archived_at IS NULL"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column(
            "headers",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("causation_id", sa.Text(), nullable=True),
        sa.Column(
            "available_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claim_token", sa.UUID(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_code", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_outbox_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_due",
        "outbox",
        ["available_at", "id"],
        unique=False,
        postgresql_where=sa.text("refused_code IS NULL"),
    )
    op.create_index(
        "ix_outbox_refused",
        "outbox",
        ["tenant_id", "correlation_id"],
        unique=False,
        postgresql_where=sa.text("refused_code IS NOT NULL"),
    )
    op.create_table(
        "data_keys",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("uses", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("destroyed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "(wrapped IS NULL) = (destroyed_at IS NOT NULL)", name=op.f("ck_data_keys_destroyed_is_gone")
        ),
        sa.CheckConstraint("generation >= 0 AND uses >= 0", name=op.f("ck_data_keys_counts")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_data_keys_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "generation", name=op.f("pk_data_keys")),
        sa.UniqueConstraint("id", name=op.f("uq_data_keys_id")),
    )
    op.create_index("ix_data_keys_kek_id", "data_keys", ["kek_id"], unique=False)
    op.create_table(
        "tenant_credentials",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_tenant_credentials_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_tenant_credentials")),
    )
    op.create_table(
        "snapshots",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("raw_bytes", sa.Integer(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("sha256 ~ '^[0-9A-Za-z_-]{64}$'", name=op.f("ck_snapshots_sha256")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_snapshots_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "sha256", name=op.f("pk_snapshots")),
    )
    op.create_table(
        "policies",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("policy_type", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("natural_key", sa.Text(), nullable=False),
        sa.Column(
            "first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("snapshot_sha256", sa.Text(), nullable=True),
        sa.Column("captured_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(snapshot_sha256 IS NULL) = (captured_at IS NULL)", name=op.f("ck_policies_capture_is_whole")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "snapshot_sha256"],
            ["snapshots.tenant_id", "snapshots.sha256"],
            name=op.f("fk_policies_tenant_id_snapshot_sha256"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_policies_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_policies")),
        sa.UniqueConstraint(
            "tenant_id", "policy_type", "remote_id", name=op.f("uq_policies_tenant_id_policy_type_remote_id")
        ),
    )
    op.create_table(
        "run_watchers",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("run_type", sa.Text(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("run_type IN ('bulk_operation_run', 'restore_run')", name=op.f("ck_run_watchers_run_type")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_run_watchers_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_run_watchers_user_id")),
        sa.PrimaryKeyConstraint("tenant_id", "run_type", "run_id", "user_id", name=op.f("pk_run_watchers")),
    )
    op.create_table(
        "backup_items",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("backup_set_id", sa.UUID(), nullable=False),
        sa.Column("policy_id", sa.UUID(), nullable=True),
        sa.Column("policy_type", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("natural_key", sa.Text(), nullable=False),
        sa.Column("snapshot_sha256", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column(
            "warnings",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column(
            "captured_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("replaced", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("absent", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("left_fingerprint", sa.Text(), nullable=True),
        sa.Column("left_assignments_fingerprint", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "NOT absent OR left_fingerprint IS NOT NULL", name=op.f("ck_backup_items_what_was_absent_was_created")
        ),
        sa.CheckConstraint("quality IN ('full', 'degraded', 'metadata_only')", name=op.f("ck_backup_items_quality")),
        sa.CheckConstraint(
            "replaced OR (NOT absent AND left_fingerprint IS NULL)",
            name=op.f("ck_backup_items_only_what_was_replaced_was_left"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "backup_set_id"],
            ["backup_sets.tenant_id", "backup_sets.id"],
            name=op.f("fk_backup_items_tenant_id_backup_set_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "policy_id"],
            ["policies.tenant_id", "policies.id"],
            name=op.f("fk_backup_items_tenant_id_policy_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "snapshot_sha256"],
            ["snapshots.tenant_id", "snapshots.sha256"],
            name=op.f("fk_backup_items_tenant_id_snapshot_sha256"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_backup_items_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_backup_items")),
        sa.UniqueConstraint(
            "tenant_id",
            "backup_set_id",
            "policy_type",
            "remote_id",
            name=op.f("uq_backup_items_tenant_id_backup_set_id_policy_type_remote_id"),
        ),
    )
    op.create_table(
        "bulk_operation_runs",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("user_id", sa.UUID(), nullable=True),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target_id", sa.UUID(), nullable=True),
        sa.Column("item_ids", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("results", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("failures", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("audit_log_id", sa.UUID(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("writes", sa.Boolean(), nullable=False),
        sa.Column("selector", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("total_items", sa.Integer(), nullable=True),
        sa.Column("processed_items", sa.Integer(), server_default="0", nullable=False),
        sa.Column("succeeded", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("event_seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("abandoned", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_wake_up", sa.UUID(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("woken_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column(
            "waiting_since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("turn_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wait_reason", sa.Text(), nullable=True),
        sa.Column("wait_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expanded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_open", sa.Integer(), server_default="0", nullable=False),
        sa.Column("abort_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_of", sa.UUID(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_context", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column(
            "metadata",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status IN ('queued', 'running')) = (finished_at IS NULL)",
            name=op.f("ck_bulk_operation_runs_terminal_is_finished"),
        ),
        sa.CheckConstraint("idempotency_key ~ '^[0-9a-f]{64}$'", name=op.f("ck_bulk_operation_runs_idempotency_key")),
        sa.CheckConstraint("lane IN ('background', 'interactive')", name=op.f("ck_bulk_operation_runs_lane")),
        sa.CheckConstraint(
            "lease_until IS NULL OR status IN ('queued', 'running')",
            name=op.f("ck_bulk_operation_runs_no_lease_when_finished"),
        ),
        sa.CheckConstraint(
            "operation = resource || '.' || action",
            name=op.f("ck_bulk_operation_runs_operation_is_resource_and_action"),
        ),
        sa.CheckConstraint(
            "status IN ('aborted', 'failed', 'partial', 'queued', 'running', 'succeeded')",
            name=op.f("ck_bulk_operation_runs_status"),
        ),
        sa.CheckConstraint(
            "wait_reason IN ('no_worker', 'paused', 'retry_in', 'scheduled', 'tenant_cap', 'throttled_until')",
            name=op.f("ck_bulk_operation_runs_wait_reason"),
        ),
        sa.CheckConstraint(
            "(lease_owner IS NULL) = (lease_until IS NULL)", name=op.f("ck_bulk_operation_runs_lease_is_whole")
        ),
        sa.CheckConstraint("NOT writes", name=op.f("ck_bulk_operation_runs_bulk_operations_never_write")),
        sa.CheckConstraint(
            "processed_items = succeeded + failed + skipped", name=op.f("ck_bulk_operation_runs_processed_is_the_sum")
        ),
        sa.CheckConstraint(
            "succeeded >= 0 AND failed >= 0 AND skipped >= 0", name=op.f("ck_bulk_operation_runs_counters_not_negative")
        ),
        sa.CheckConstraint(
            "total_items IS NULL OR processed_items <= total_items",
            name=op.f("ck_bulk_operation_runs_processed_within_total"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "audit_log_id"],
            ["audit_logs.tenant_id", "audit_logs.id"],
            name=op.f("fk_bulk_operation_runs_tenant_id_audit_log_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "retry_of"],
            ["bulk_operation_runs.tenant_id", "bulk_operation_runs.id"],
            name=op.f("fk_bulk_operation_runs_tenant_id_retry_of"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_bulk_operation_runs_tenant_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_bulk_operation_runs_user_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_bulk_operation_runs")),
    )
    op.create_index(
        "ix_bulk_operation_runs_active",
        "bulk_operation_runs",
        ["woken_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_bulk_operation_runs_finished",
        "bulk_operation_runs",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_bulk_operation_runs_leased",
        "bulk_operation_runs",
        ["tenant_id"],
        unique=False,
        postgresql_where=sa.text("lease_until IS NOT NULL OR turn_until IS NOT NULL"),
    )
    op.create_index(
        "ix_bulk_operation_runs_newest",
        "bulk_operation_runs",
        ["tenant_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_bulk_operation_runs_paused",
        "bulk_operation_runs",
        ["woken_at"],
        unique=False,
        postgresql_where=sa.text("wait_reason = 'paused'"),
    )
    op.create_index(
        "ix_bulk_operation_runs_waiting",
        "bulk_operation_runs",
        ["tenant_id", "waiting_since"],
        unique=False,
        postgresql_where=sa.text("wait_reason = 'tenant_cap'"),
    )
    op.create_index(
        "uq_bulk_operation_runs_active_identity",
        "bulk_operation_runs",
        ["tenant_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_table(
        "restore_runs",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("backup_set_id", sa.UUID(), nullable=False),
        sa.Column("preview_run_id", sa.UUID(), nullable=True),
        sa.Column("undo_of", sa.UUID(), nullable=True),
        sa.Column("initiator_id", sa.UUID(), nullable=True),
        sa.Column("is_dry_run", sa.Boolean(), nullable=False),
        sa.Column("requested_items", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("plan_hash", sa.Text(), nullable=True),
        sa.Column("preview", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("results", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("failure_reason", sa.Text(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("writes", sa.Boolean(), nullable=False),
        sa.Column("selector", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("total_items", sa.Integer(), nullable=True),
        sa.Column("processed_items", sa.Integer(), server_default="0", nullable=False),
        sa.Column("succeeded", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("event_seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("abandoned", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_wake_up", sa.UUID(), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("woken_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column(
            "waiting_since", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("turn_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wait_reason", sa.Text(), nullable=True),
        sa.Column("wait_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expanded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_open", sa.Integer(), server_default="0", nullable=False),
        sa.Column("abort_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_of", sa.UUID(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_context", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column(
            "metadata",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status IN ('queued', 'running')) = (completed_at IS NULL)",
            name=op.f("ck_restore_runs_terminal_is_finished"),
        ),
        sa.CheckConstraint("idempotency_key ~ '^[0-9a-f]{64}$'", name=op.f("ck_restore_runs_idempotency_key")),
        sa.CheckConstraint("lane IN ('background', 'interactive')", name=op.f("ck_restore_runs_lane")),
        sa.CheckConstraint(
            "lease_until IS NULL OR status IN ('queued', 'running')",
            name=op.f("ck_restore_runs_no_lease_when_finished"),
        ),
        sa.CheckConstraint(
            "status IN ('aborted', 'failed', 'partial', 'queued', 'running', 'succeeded')",
            name=op.f("ck_restore_runs_status"),
        ),
        sa.CheckConstraint(
            "wait_reason IN ('no_worker', 'paused', 'retry_in', 'scheduled', 'tenant_cap', 'throttled_until')",
            name=op.f("ck_restore_runs_wait_reason"),
        ),
        sa.CheckConstraint(
            "(lease_owner IS NULL) = (lease_until IS NULL)", name=op.f("ck_restore_runs_lease_is_whole")
        ),
        sa.CheckConstraint(
            "is_dry_run = (preview_run_id IS NULL)", name=op.f("ck_restore_runs_an_execution_has_a_preview")
        ),
        sa.CheckConstraint("is_dry_run = NOT writes", name=op.f("ck_restore_runs_a_dry_run_never_writes")),
        sa.CheckConstraint(
            "processed_items = succeeded + failed + skipped", name=op.f("ck_restore_runs_processed_is_the_sum")
        ),
        sa.CheckConstraint(
            "succeeded >= 0 AND failed >= 0 AND skipped >= 0", name=op.f("ck_restore_runs_counters_not_negative")
        ),
        sa.CheckConstraint(
            "total_items IS NULL OR processed_items <= total_items", name=op.f("ck_restore_runs_processed_within_total")
        ),
        sa.ForeignKeyConstraint(["initiator_id"], ["users.id"], name=op.f("fk_restore_runs_initiator_id")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "backup_set_id"],
            ["backup_sets.tenant_id", "backup_sets.id"],
            name=op.f("fk_restore_runs_tenant_id_backup_set_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "preview_run_id"],
            ["restore_runs.tenant_id", "restore_runs.id"],
            name=op.f("fk_restore_runs_tenant_id_preview_run_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "retry_of"],
            ["restore_runs.tenant_id", "restore_runs.id"],
            name=op.f("fk_restore_runs_tenant_id_retry_of"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "undo_of"],
            ["restore_runs.tenant_id", "restore_runs.id"],
            name=op.f("fk_restore_runs_tenant_id_undo_of"),
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_restore_runs_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_restore_runs")),
    )
    op.create_index(
        "ix_restore_runs_active",
        "restore_runs",
        ["woken_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_restore_runs_finished",
        "restore_runs",
        ["completed_at"],
        unique=False,
        postgresql_where=sa.text("completed_at IS NOT NULL"),
    )
    op.create_index(
        "ix_restore_runs_leased",
        "restore_runs",
        ["tenant_id"],
        unique=False,
        postgresql_where=sa.text("lease_until IS NOT NULL OR turn_until IS NOT NULL"),
    )
    op.create_index(
        "ix_restore_runs_newest",
        "restore_runs",
        ["tenant_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_restore_runs_paused",
        "restore_runs",
        ["woken_at"],
        unique=False,
        postgresql_where=sa.text("wait_reason = 'paused'"),
    )
    op.create_index(
        "ix_restore_runs_waiting",
        "restore_runs",
        ["tenant_id", "waiting_since"],
        unique=False,
        postgresql_where=sa.text("wait_reason = 'tenant_cap'"),
    )
    op.create_index(
        "uq_restore_runs_active_identity",
        "restore_runs",
        ["tenant_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_table(
        "dead_messages",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("run_type", sa.Text(), nullable=True),
        sa.Column("run_id", sa.UUID(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("first_failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "resolution IN ('dropped', 'gone', 'parked', 'replayed')", name=op.f("ck_dead_messages_resolution")
        ),
        sa.CheckConstraint("run_type IN ('bulk_operation_run', 'restore_run')", name=op.f("ck_dead_messages_run_type")),
        sa.CheckConstraint("(run_type IS NULL) = (run_id IS NULL)", name=op.f("ck_dead_messages_run_is_whole")),
        sa.CheckConstraint(
            "(resolved_at IS NULL) = (resolution IS NULL)", name=op.f("ck_dead_messages_resolution_is_whole")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_dead_messages_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "queue", "message_id", name=op.f("pk_dead_messages")),
    )
    op.create_index("ix_dead_messages_run_id", "dead_messages", ["tenant_id", "run_id"], unique=False)
    op.create_index(
        "ix_dead_messages_waiting",
        "dead_messages",
        ["queue"],
        unique=False,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "archives",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("id = run_id", name=op.f("ck_archives_has_the_id_of_its_run")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["bulk_operation_runs.tenant_id", "bulk_operation_runs.id"],
            name=op.f("fk_archives_tenant_id_run_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_archives_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_archives")),
        sa.UniqueConstraint("tenant_id", "run_id", name=op.f("uq_archives_tenant_id_run_id")),
    )
    op.create_table(
        "bulk_operation_run_items",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.UUID(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("policy_type", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_context", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "(state IN ('pending', 'intent')) = (outcome IS NULL)",
            name=op.f("ck_bulk_operation_run_items_final_has_an_outcome"),
        ),
        sa.CheckConstraint(
            "outcome IN ('applied_created', 'applied_deleted', 'applied_updated', 'blocked', 'captured', 'exported', 'failed', 'listed', 'planned', 'skipped', 'unchanged', 'unknown')",
            name=op.f("ck_bulk_operation_run_items_outcome"),
        ),
        sa.CheckConstraint("state <> 'intent'", name=op.f("ck_bulk_operation_run_items_bulk_items_never_write")),
        sa.CheckConstraint(
            "state IN ('failed', 'intent', 'pending', 'skipped', 'succeeded', 'unknown')",
            name=op.f("ck_bulk_operation_run_items_state"),
        ),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_bulk_operation_run_items_attempt")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["bulk_operation_runs.tenant_id", "bulk_operation_runs.id"],
            name=op.f("fk_bulk_operation_run_items_tenant_id_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "ordinal", name=op.f("pk_bulk_operation_run_items")),
        sa.UniqueConstraint(
            "item_id", "run_id", "tenant_id", name=op.f("uq_bulk_operation_run_items_item_id_run_id_tenant_id")
        ),
        postgresql_with={"fillfactor": 45},
    )
    op.create_table(
        "restore_run_items",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.UUID(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("policy_type", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_context", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("plan", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("request_hash", sa.Text(), nullable=True),
        sa.Column("intent_epoch", sa.BigInteger(), nullable=True),
        sa.Column("intent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("before_sha256", sa.Text(), nullable=True),
        sa.Column("left_fingerprint", sa.Text(), nullable=True),
        sa.Column("left_assignments_fingerprint", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('pending', 'intent')) = (outcome IS NULL)",
            name=op.f("ck_restore_run_items_final_has_an_outcome"),
        ),
        sa.CheckConstraint(
            "outcome IN ('applied_created', 'applied_deleted', 'applied_updated', 'blocked', 'captured', 'exported', 'failed', 'listed', 'planned', 'skipped', 'unchanged', 'unknown')",
            name=op.f("ck_restore_run_items_outcome"),
        ),
        sa.CheckConstraint(
            "state <> 'intent' OR (request_hash IS NOT NULL AND step IS NOT NULL)",
            name=op.f("ck_restore_run_items_intent_is_whole"),
        ),
        sa.CheckConstraint(
            "state IN ('failed', 'intent', 'pending', 'skipped', 'succeeded', 'unknown')",
            name=op.f("ck_restore_run_items_state"),
        ),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_restore_run_items_attempt")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "before_sha256"],
            ["snapshots.tenant_id", "snapshots.sha256"],
            name=op.f("fk_restore_run_items_tenant_id_before_sha256"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["restore_runs.tenant_id", "restore_runs.id"],
            name=op.f("fk_restore_run_items_tenant_id_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "ordinal", name=op.f("pk_restore_run_items")),
        sa.UniqueConstraint(
            "item_id", "run_id", "tenant_id", name=op.f("uq_restore_run_items_item_id_run_id_tenant_id")
        ),
        postgresql_with={"fillfactor": 45},
    )
    op.create_table(
        "archive_chunks",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("archive_id", sa.UUID(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "archive_id"],
            ["bulk_operation_runs.tenant_id", "bulk_operation_runs.id"],
            name=op.f("fk_archive_chunks_tenant_id_archive_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_archive_chunks_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "archive_id", "sequence", name=op.f("pk_archive_chunks")),
    )
    op.create_table(
        "throttle_budgets",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("throttle_class", sa.Text(), nullable=False),
        sa.Column("factor", sa.Double(), server_default="1", nullable=False),
        sa.Column(
            "blocked_until",
            sa.DateTime(timezone=True),
            server_default=sa.text("'1970-01-01 00:00:00+00'"),
            nullable=False,
        ),
        sa.Column("strikes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "blocks",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("factor > 0 AND factor <= 1", name=op.f("ck_throttle_budgets_factor")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_throttle_budgets_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "throttle_class", name=op.f("pk_throttle_budgets")),
    )
    op.create_table(
        "restore_id_map",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("run_id", sa.UUID(), nullable=False),
        sa.Column("policy_type", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "decision IN ('created', 'created_copy', 'mapped_existing')", name=op.f("ck_restore_id_map_decision")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "run_id"],
            ["restore_runs.tenant_id", "restore_runs.id"],
            name=op.f("fk_restore_id_map_tenant_id_run_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "run_id", "policy_type", "source_id", name=op.f("pk_restore_id_map")),
    )
    # ### end Alembic commands ###
    make_upstreams()
    laws = (REFUSE_TRANSITION, *ITEM_LAWS, REFUSE_INTENT, INTENT_LAW)
    for statement in (*laws, AUDIT_FIELD, LINK_AUDIT_LOG, REFUSE_AUDIT_CHANGE, *AUDIT_LAWS):
        op.execute(statement)


def make_upstreams() -> None:
    """Make the registry of upstream systems and what their keys may sign (ADR 29)."""
    op.create_table(
        "upstreams",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("all_tenants", sa.Boolean(), nullable=False),
        sa.Column("tenant_ids", postgresql.ARRAY(sa.UUID()), nullable=False),
        sa.Column("operations", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9_.-]{0,99}$'", name=op.f("ck_upstreams_name")),
        sa.CheckConstraint(
            "all_tenants = (cardinality(tenant_ids) = 0)", name=op.f("ck_upstreams_all_or_some_tenants")
        ),
        sa.CheckConstraint("cardinality(operations) > 0", name=op.f("ck_upstreams_some_operations")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upstreams")),
    )
    op.create_index(
        "uq_upstreams_name", "upstreams", ["name"], unique=True, postgresql_where=sa.text("removed_at IS NULL")
    )
    op.create_table(
        "upstream_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("upstream_id", sa.UUID(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column(
            "valid_from", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("octet_length(public_key) = 32", name=op.f("ck_upstream_keys_public_key")),
        sa.CheckConstraint("valid_from < valid_until", name=op.f("ck_upstream_keys_valid_for_a_while")),
        sa.ForeignKeyConstraint(["upstream_id"], ["upstreams.id"], name=op.f("fk_upstream_keys_upstream_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upstream_keys")),
        sa.UniqueConstraint("public_key", name=op.f("uq_upstream_keys_public_key")),
    )
    op.create_index("ix_upstream_keys_upstream_id", "upstream_keys", ["upstream_id"], unique=False)
    op.create_table(
        "redrives",
        sa.Column("tenant_id", sa.UUID(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("authorised_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "authorised_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("body_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_redrives_body_sha256")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_redrives_tenant_id")),
        sa.PrimaryKeyConstraint("tenant_id", "message_id", "body_sha256", name=op.f("pk_redrives")),
    )


def downgrade() -> None:
    # ### commands auto generated by Alembic - please adjust! ###
    op.drop_table("redrives")
    op.drop_index("ix_upstream_keys_upstream_id", table_name="upstream_keys")
    op.drop_table("upstream_keys")
    op.drop_index("uq_upstreams_name", table_name="upstreams", postgresql_where=sa.text("removed_at IS NULL"))
    op.drop_table("upstreams")
    op.drop_table("restore_id_map")
    op.drop_table("throttle_budgets")
    op.drop_table("archive_chunks")
    op.drop_table("restore_run_items")
    op.drop_table("bulk_operation_run_items")
    op.drop_table("archives")
    op.drop_index(
        "ix_dead_messages_waiting", table_name="dead_messages", postgresql_where=sa.text("resolved_at IS NULL")
    )
    op.drop_index("ix_dead_messages_run_id", table_name="dead_messages")
    op.drop_table("dead_messages")
    op.drop_index(
        "uq_restore_runs_active_identity",
        table_name="restore_runs",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_index(
        "ix_restore_runs_waiting", table_name="restore_runs", postgresql_where=sa.text("wait_reason = 'tenant_cap'")
    )
    op.drop_index("ix_restore_runs_newest", table_name="restore_runs")
    op.drop_index(
        "ix_restore_runs_leased",
        table_name="restore_runs",
        postgresql_where=sa.text("lease_until IS NOT NULL OR turn_until IS NOT NULL"),
    )
    op.drop_index(
        "ix_restore_runs_finished", table_name="restore_runs", postgresql_where=sa.text("completed_at IS NOT NULL")
    )
    op.drop_index(
        "ix_restore_runs_active", table_name="restore_runs", postgresql_where=sa.text("status IN ('queued', 'running')")
    )
    op.drop_table("restore_runs")
    op.drop_index(
        "uq_bulk_operation_runs_active_identity",
        table_name="bulk_operation_runs",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_index(
        "ix_bulk_operation_runs_waiting",
        table_name="bulk_operation_runs",
        postgresql_where=sa.text("wait_reason = 'tenant_cap'"),
    )
    op.drop_index("ix_bulk_operation_runs_newest", table_name="bulk_operation_runs")
    op.drop_index(
        "ix_bulk_operation_runs_leased",
        table_name="bulk_operation_runs",
        postgresql_where=sa.text("lease_until IS NOT NULL OR turn_until IS NOT NULL"),
    )
    op.drop_index(
        "ix_bulk_operation_runs_finished",
        table_name="bulk_operation_runs",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_bulk_operation_runs_active",
        table_name="bulk_operation_runs",
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.drop_table("bulk_operation_runs")
    op.drop_table("backup_items")
    op.drop_table("run_watchers")
    op.drop_table("policies")
    op.drop_table("snapshots")
    op.drop_table("tenant_credentials")
    op.drop_index("ix_data_keys_kek_id", table_name="data_keys")
    op.drop_table("data_keys")
    op.drop_index("ix_outbox_due", table_name="outbox", postgresql_where=sa.text("refused_code IS NULL"))
    op.drop_table("outbox")
    op.drop_index(
        "ix_notifications_unread",
        table_name="notifications",
        postgresql_where=sa.text("interrupts AND read_at IS NULL AND archived_at IS NULL"),
    )
    op.drop_index("ix_notifications_newest", table_name="notifications")
    op.drop_table("notifications")
    op.drop_index("ix_sessions_user_id", table_name="sessions")
    op.drop_table("sessions")
    op.drop_index("ix_sign_in_links_user_id", table_name="sign_in_links")
    op.drop_table("sign_in_links")
    op.drop_index("ix_memberships_user_id", table_name="memberships")
    op.drop_table("memberships")
    op.drop_index("ix_inbox_processed_at", table_name="inbox")
    op.drop_table("inbox")
    op.drop_table("pauses")
    op.drop_table("paused_operations")
    op.drop_index("ix_backup_sets_newest", table_name="backup_sets")
    op.drop_table("backup_sets")
    op.drop_index("ix_audit_logs_target", table_name="audit_logs")
    op.drop_table("audit_logs")
    op.drop_table("audit_heads")
    op.drop_table("audit_anchors")
    op.drop_table("users")
    op.drop_table("tenants")
    # ### end Alembic commands ###
    op.execute("DROP FUNCTION refuse_item_transition")
    for function in ("refuse_intent_of_dry_run", "link_audit_log", "refuse_audit_change", "audit_field"):
        op.execute(f"DROP FUNCTION {function}")
