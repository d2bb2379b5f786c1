"""Frozen fields, records to plan anew, and the access that a change was refused with"""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

import connector.state.models

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "freeze",
        sa.Column("key", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("system", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("record", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("field", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("writer", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("since_at", connector.state.models.Instant(timezone=True), nullable=False),
        sa.Column("until_at", connector.state.models.Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    with op.batch_alter_table("freeze", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_freeze_record"), ["record"], unique=False)
        batch_op.create_index(batch_op.f("ix_freeze_until_at"), ["until_at"], unique=False)
    op.create_table(
        "replan",
        sa.Column("record", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("why", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("at", connector.state.models.Instant(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("record"),
    )
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.add_column(sa.Column("access", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.drop_column("access")
    op.drop_table("replan")
    op.drop_table("freeze")
