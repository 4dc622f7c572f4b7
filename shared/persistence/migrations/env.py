"""Alembic's entry: migrations run on the connection that `shared.persistence.migrate` hands over."""

from alembic import context

from shared.persistence.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
    compare_server_default=True,
)
context.run_migrations()
