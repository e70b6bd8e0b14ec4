"""Records and their journal."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    position = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "records",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id"),
    )
    op.create_table(
        "journal",
        sa.Column("position", position, primary_key=True, autoincrement=True),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("journal_writer_number", "journal", ["writer", "number"], unique=True)


def downgrade() -> None:
    """Nothing goes back: an older Headgate opens a backup."""
    raise RuntimeError("control state is not taken back to an older version: restore a backup")
