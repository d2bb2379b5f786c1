"""Alembic's environment: the connection is handed over by `state.store`."""

from alembic import context
from sqlmodel import SQLModel

from connector.state import models

assert models.Run.metadata is SQLModel.metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
