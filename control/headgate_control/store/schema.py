"""The two tables of control state. The journal is the truth; records are what it adds up to."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, PrimaryKeyConstraint, Table, Text

METADATA = MetaData()

# SQLite counts up only columns of its own INTEGER, which has 64 bits there.
_Position = BigInteger().with_variant(Integer, "sqlite")

RECORDS = Table(
    "records",
    METADATA,
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("kind", "id"),
)

JOURNAL = Table(
    "journal",
    METADATA,
    Column("position", _Position, primary_key=True, autoincrement=True),
    Column("writer", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("journal_writer_number", "writer", "number", unique=True),
)
