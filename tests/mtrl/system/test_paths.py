import os
from pathlib import Path

import pytest

from mtrl.system.paths import check_writable


def test_a_directory_that_is_to_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for directory in (tmp_path, tmp_path / "new" / "deep", Path("new")):
        check_writable(directory)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(ValueError, match=r"Nothing can be written to .*file is not a directory"):
            check_writable(directory)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(ValueError, match="locked is not writable"):
        check_writable(tmp_path / "locked" / "new")
