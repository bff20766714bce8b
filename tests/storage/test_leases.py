"""Where leases are kept."""

from __future__ import annotations

from pathlib import Path

from wandbsweep.storage.leases import FileLeases


def test_a_lease_can_be_renewed_on_a_full_disk(tmp_path: Path) -> None:
    """It is written over in place: nothing is allocated, nothing is truncated."""
    leases = FileLeases(tmp_path)
    leases.renew("a")
    before = (tmp_path / "a").stat()
    leases.renew("a")
    after = (tmp_path / "a").stat()
    assert (before.st_ino, before.st_size, before.st_blocks) == (after.st_ino, after.st_size, after.st_blocks)
