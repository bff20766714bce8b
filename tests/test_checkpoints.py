import os
import zipfile

from wandbsweep.checkpoints import find_checkpoint


def write(path, age, content=b"data"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    assert find_checkpoint(tmp_path / "nowhere") is None
    write(tmp_path / "data.csv", 0)
    assert find_checkpoint(tmp_path) is None
    state = write(tmp_path / "state.pt", 1)
    assert find_checkpoint(tmp_path) == state
    epoch, last = (write(tmp_path / "checkpoints" / name, 5) for name in ("epoch_003.ckpt", "last.ckpt"))
    assert find_checkpoint(tmp_path) == last
    os.utime(epoch)
    assert find_checkpoint(tmp_path) == epoch


def test_a_checkpoint_that_was_not_written_to_its_end_does_not_count(tmp_path):
    whole = tmp_path / "a.ckpt"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("state", "x" * 100)
    os.utime(whole, (1e9, 1e9))
    write(tmp_path / "b.ckpt", -1, whole.read_bytes()[:-20])
    write(tmp_path / "c.ckpt", -2, b"")
    assert find_checkpoint(tmp_path) == whole
