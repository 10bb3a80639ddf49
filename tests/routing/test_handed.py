"""The file of a large body, read by pieces."""

from __future__ import annotations

from pathlib import Path

from headrace_bus.routing.bodies.shared_file import Bodies, SharedFile


def test_pieces_end_with_the_body_and_behind_it_there_is_nothing(tmp_path: Path) -> None:
    file = SharedFile(Bodies(tmp_path))
    file.add(b"0123456789")

    assert [file.body(4, at) for at in (0, 4, 8)] == [b"0123", b"4567", b"89"]
    for at in (10, 11, 1 << 80):  # an instance may ask for any piece
        assert file.body(4, at) == b""
