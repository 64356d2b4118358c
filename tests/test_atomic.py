import hashlib
import os
import stat
from pathlib import Path

import pytest

from mrl_edge.atomic import check_target, new_folder, write_file
from mrl_edge.errors import UsageError
from mrl_edge.hashing import sha256


def _listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def usual_umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_file_holds_what_was_written(tmp_path):
    path = tmp_path / "new" / "deep" / "file.bin"
    write_file(path, b"first")
    write_file(path, b"\x00second\n")
    assert path.read_bytes() == b"\x00second\n"
    assert _listing(path.parent) == ["file.bin"]


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch, step, error):
    def fail(*_):
        raise error

    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr(step, fail)
    with pytest.raises(type(error)):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert _listing(tmp_path) == ["file.bin"]


def test_a_failed_first_write_leaves_no_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_file(tmp_path / "file.bin", b"new")
    assert _listing(tmp_path) == []


def test_the_old_file_stands_until_the_new_one_is_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    seen = []
    monkeypatch.setattr("os.fsync", lambda _: seen.append(path.read_bytes()))
    write_file(path, b"new")
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


@pytest.mark.usefixtures("usual_umask")
def test_what_is_written_has_the_permissions_of_any_other_new_file(tmp_path):
    write_file(tmp_path / "file", b"")
    with new_folder(tmp_path / "folder"):
        pass
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750
    assert os.umask(0o027) == 0o027


def test_a_new_folder_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "parent" / "out"
    with new_folder(target) as work:
        assert _listing(work) == []
        assert work.parent == target.parent  # on one file system, so that the rename is atomic
        (work / "sub").mkdir()
        (work / "sub" / "file").write_text("new")
        assert not target.exists()
    assert (target / "sub" / "file").read_text() == "new"
    assert _listing(target.parent) == ["out"]


def test_a_new_folder_replaces_the_old_one_whole(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")
    with new_folder(target) as work:
        (work / "new").write_text("new")
        assert _listing(target) == ["old"]
    assert _listing(target) == ["new"]
    assert _listing(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("existing", [True, False])
def test_an_error_removes_the_new_folder_and_keeps_the_old_one(tmp_path, existing, error):
    target = tmp_path / "out"
    if existing:
        target.mkdir()
        (target / "file").write_text("old")

    def build():
        with new_folder(target) as work:
            (work / "file").write_text("half")
            raise error

    with pytest.raises(error):
        build()
    assert _listing(tmp_path) == (["out"] if existing else [])
    assert not existing or (target / "file").read_text() == "old"


def test_a_relative_folder_lands_in_the_folder_it_was_named_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with new_folder(Path("out")) as work:
        (work / "file").write_text("new")
    assert (tmp_path / "out" / "file").read_text() == "new"


def _ours(path):
    path.mkdir()
    (path / "ours.json").write_text("{}")


def _foreign(path):
    path.mkdir()
    (path / "thesis.doc").write_text("years of work")


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["absent", "empty"])
def test_a_target_that_holds_nothing_is_accepted(tmp_path, make, overwrite):
    make(tmp_path / "out")
    check_target(tmp_path / "out", "ours.json", overwrite)


def test_our_own_folder_is_accepted_only_with_overwrite(tmp_path):
    _ours(tmp_path / "out")
    check_target(tmp_path / "out", "ours.json", overwrite=True)
    with pytest.raises(UsageError, match="--overwrite"):
        check_target(tmp_path / "out", "ours.json", overwrite=False)


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("make", [_foreign, lambda path: path.write_text("a file")], ids=["folder", "file"])
def test_what_is_not_ours_is_refused_even_with_overwrite(tmp_path, make, overwrite):
    make(tmp_path / "out")
    with pytest.raises(UsageError, match="out"):
        check_target(tmp_path / "out", "ours.json", overwrite)


@pytest.mark.parametrize("size", [0, 3, (1 << 22) - 1, 1 << 22, (1 << 23) + 5])
def test_the_checksum_is_that_of_the_whole_file(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    honest = Path.replace

    def replace(self, target):
        if (self / "new").exists():
            raise KeyboardInterrupt
        return honest(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt), new_folder(out) as work:
        (work / "new").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "old").read_text() == "old"
