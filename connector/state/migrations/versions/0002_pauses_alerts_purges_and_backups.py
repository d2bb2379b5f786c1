"""Pauses, alerts, purges with what they suppress, and the backups that we made"""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

import connector.state.models

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INSTANT = connector.state.models.Instant(timezone=True)
_TEXT = sqlmodel.sql.sqltypes.AutoString()


def upgrade() -> None:
    op.create_table(
        "pause",
        sa.Column("system", _TEXT, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("since_at", _INSTANT, nullable=False),
        sa.Column("by", _TEXT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("credentials", _TEXT, nullable=False),
        sa.Column("tried_at", _INSTANT, nullable=True),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("key", _TEXT, nullable=False, index=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("system", _TEXT, nullable=False),
        sa.Column("stream", _TEXT, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("began_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT, nullable=True),
        sa.Column("untold", sa.JSON(), nullable=False),
    )
    op.create_table(
        "purge",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("at", _INSTANT, nullable=False),
        sa.Column("by", _TEXT, nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("hashes", sa.JSON(), nullable=False),
    )
    op.create_table(
        "suppression",
        sa.Column("hash", _TEXT, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("purge", _TEXT, nullable=False, index=True),
    )
    op.create_table(
        "backup",
        sa.Column("path", _TEXT, primary_key=True),
        sa.Column("made_at", _INSTANT, nullable=False),
        sa.Column("pair", _TEXT, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
    )
