"""Limits and intervals of a store: every queue, window and wait has its bound here."""

from dataclasses import dataclass, field

from headgate_processors.store.retention import Retention
from headgate_processors.store.watermark import Reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """How one writer commits, seals and compacts; sizes in bytes, times in seconds.

    `buckets` counts only when the folder is made: afterwards `store.json` decides.
    A segment whose rows would fill a bucket with fewer than `bucket_rows_min` rows is sealed as one file
    in `bucket=all`, which the compactor splits: sixteen files of a few rows each cost more than they help.
    `dedupe_rows_max` records of each dataset are remembered, about 150 bytes each.
    `resend_skew_s` is how far a sender's clock may be off before a late resend is left to the views.
    `peers_interval_s` is how often a busy writer looks whether it is alone in the folder.
    `compact_interval_s` of 0 turns the compactor of this writer off; `compact_apart` gives it a process of its own,
    which has its own memory and gives way to this one.
    `scrub_interval_s` is how often live files are looked at for damage that a glance shows.
    `disk_free_min` stays free on the disk: past it requests are refused and files are not merged.
    `retention` says when the compactor of this writer deletes rows.
    """

    buckets: int = 16
    seal_interval_s: float = 2.0
    seal_bytes: int = 64 << 20
    unsealed_bytes_max: int = 512 << 20
    queue_bytes_max: int = 256 << 20
    queue_requests_max: int = 1024
    group_bytes_max: int = 32 << 20
    commit_timeout_s: float = 30.0
    retry_after_s: float = 1.0
    bucket_rows_min: int = 4096
    row_group_rows: int = 65_536
    dedupe_rows_max: int = 1_000_000
    resend_skew_s: float = 5.0
    peers_interval_s: float = 1.0
    grace_s: float = 60.0
    lock_wait_s: float = 1.0
    compact_interval_s: float = 60.0
    compact_apart: bool = False
    scrub_interval_s: float = 5.0
    disk_free_min: Reserve = field(default_factory=Reserve)
    retention: Retention = field(default_factory=Retention)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderConfig:
    """What a query may use; `temp_dir` NULL means that nothing is spilled to disk.

    `sets_aside` lets it take files that turn out to be damaged out of the live ones.
    """

    memory_limit: str = "4GB"
    threads: int | None = None
    temp_dir: str | None = None
    snapshot_attempts: int = 50
    sets_aside: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactConfig:
    """When the compactor merges, and how much it holds in memory at once.

    `full` merges all that is smaller than `file_bytes_target`, and splits by bucket what fills a file for each. Without
    it, only files of similar size, `files_min` of them or more, become one of all their buckets: that is what a running
    store does every minute, and it writes a row again once or twice in all. `merge_bytes_max` is of rows as they are in
    memory, where texts that are alike take many times what they take on the disk. Files older than `orphan_age_s` that
    were never made live are removed.
    """

    full: bool = True
    files_min: int = 2
    file_bytes_target: int = 64 << 20
    merge_rows_max: int = 500_000
    merge_bytes_max: int = 1 << 30
    bucket_rows_min: int = 4096
    row_group_rows: int = 122_880
    memory_limit: str = "2GB"
    threads: int | None = None
    grace_s: float = 60.0
    orphan_age_s: float = 3600.0
    disk_free_min: Reserve = field(default_factory=Reserve)
    retention: Retention = field(default_factory=Retention)
