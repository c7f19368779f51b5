"""Alembic runs this; the connection comes from `migrate.upgrade`."""

from __future__ import annotations

from alembic import context

from mseg_curate.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
