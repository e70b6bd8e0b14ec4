"""Stores of other versions: an older one opens, whatever it lacks."""

import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headgate_processors.schema import DATASETS
from headgate_processors.store import CompactConfig, StoreReader, compact
from headgate_processors.store.manifest import read_manifest
from headgate_processors.store.survey import survey
from headgate_processors.testing.rows import batch, child, log, point, span

FIXTURE = Path(__file__).parent / "fixtures" / "store-v1.tar.gz"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of format 1 as it was committed: two sealed records of every kind, and one in a segment."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def counts(folder: Path) -> dict[str, int]:
    """How many rows each raw view shows."""
    with StoreReader(folder).connect() as connection:
        return {name: connection.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in DATASETS}


def rows(number: int):
    """Rows of today, one of every kind."""
    one = span(number, trace=number)
    return {
        "spans": batch("spans", [one]),
        "span_events": batch("span_events", [child(one)]),
        "content": batch("content", [child(one)]),
        "log_events": batch("log_events", [log(number)]),
        "metric_points": batch("metric_points", [point(number)]),
    }


EVERY = {"spans": 3, "span_events": 3, "span_links": 0, "log_events": 3, "metric_points": 3, "content": 3}


def test_a_store_of_format_1_opens(old, open_store) -> None:
    """It is read as it lies, takes rows, knows its records again, and is compacted with them."""
    assert EVERY == counts(old)
    assert [] == list(survey(old, deep=True))

    store = open_store(old)
    again, fresh = store.append(rows(2)), store.append(rows(4))
    store.seal()
    compact(old, config=CompactConfig(grace_s=0))

    assert (3, 3) == (again.duplicates, fresh.stored)
    assert {name: count and count + 1 for name, count in EVERY.items()} == counts(old)
    assert [] == list(survey(old, deep=True))


def test_columns_that_older_files_lack_are_null_everywhere(old, open_store) -> None:
    """In queries, and after compaction merged them with files of today; a column that is no more is left out."""
    for file in read_manifest(old).of("spans"):
        path = old / file.path
        table = pq.read_table(path, partitioning=None).drop_columns(["team", "request_id"])
        path.unlink()
        pq.write_table(table.append_column("retired", pa.array(["x"] * table.num_rows)), path)
    _forget_what_older_manifests_lack(old)
    store = open_store(old)
    store.append({"spans": batch("spans", [span(9, trace=9, team="payments")])})
    store.seal()
    query = "SELECT team FROM spans ORDER BY name"

    before = StoreReader(old).query(query).column("team").to_pylist()
    compact(old, config=CompactConfig(grace_s=0))

    assert [None, None, "payments", "payments"] == before
    assert before == StoreReader(old).query(query).column("team").to_pylist()
    assert "retired" not in StoreReader(old).query("SELECT * FROM spans").column_names


def _forget_what_older_manifests_lack(folder: Path) -> None:
    """Write the manifest as it was before it had checksums, with the files as long as they are."""
    path = folder / "manifest.json"
    found = json.loads(path.read_bytes())
    for name in ("crc32", "damaged", "derived_epoch"):
        found.pop(name)
    for file in found["files"]:
        file.pop("crc32")
        file.pop("modified_unix_nano")
        file["bytes"] = (folder / file["path"]).stat().st_size
        file["schema_id"] = f"old {file['dataset']}"
    path.write_text(json.dumps(found))
