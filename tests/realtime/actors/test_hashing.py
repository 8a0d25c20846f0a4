import hashlib
import os

import pytest

from realtime.actors.hashing import hash_folder, jobs
from realtime.actors.progress import TaskEnded
from realtime.fields import BadField


class Words:
    """What the job said."""

    def __init__(self, end_after=None):
        self.said = []
        self._end_after = end_after

    def update(self, stage=None, percent=None, message=None, **extra):
        if len(self.said) == self._end_after:
            raise TaskEnded("over")
        self.said.append((stage, percent, message, extra))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "tree" / "b.txt").write_bytes(b"b" * 3000)
    (tmp_path / "root" / "tree" / "inner" / "a.txt").write_bytes(b"a" * 1000)
    (tmp_path / "root" / "tree" / "empty").write_bytes(b"")
    (tmp_path / "secret").write_bytes(b"secret")
    os.symlink(tmp_path / "secret", tmp_path / "root" / "tree" / "link")
    return tmp_path / "root"


def sum_of(**files):
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_every_regular_file_counts_and_links_do_not(root):
    result = hash_folder(Words(), "tree", root)
    expected = sum_of(**{"b.txt": b"b" * 3000, "empty": b"", "inner/a.txt": b"a" * 1000})
    assert result == {"files": 3, "bytes": 4000, "sha256": expected}


def test_progress_goes_by_bytes(root):
    words = Words()
    hash_folder(words, "tree", root)
    percents = [percent for stage, percent, _, _ in words.said if stage == "hashing"]
    assert percents == [75, 100]
    assert words.said[-1][3] == {"files_done": 3, "files_total": 3}


def test_an_empty_tree_is_done_at_once(root):
    (root / "nothing").mkdir()
    assert hash_folder(Words(), "nothing", root)["files"] == 0


@pytest.mark.parametrize("folder", ["..", "../..", "/", "tree/../..", "tree/link", "nowhere"])
def test_nothing_outside_of_the_root_is_read(root, folder):
    with pytest.raises(BadField) as refused:
        hash_folder(Words(), folder, root)
    assert refused.value.field == "params.folder"


def test_it_stops_at_its_next_word_when_it_was_cancelled(root):
    words = Words(end_after=2)
    with pytest.raises(TaskEnded):
        hash_folder(words, "tree", root)
    assert len(words.said) == 2


def test_too_many_files_are_refused(root, monkeypatch):
    monkeypatch.setattr("realtime.actors.hashing.MAX_FILES", 2)
    with pytest.raises(BadField, match="more than 2 files"):
        hash_folder(Words(), "tree", root)


def test_as_a_module_it_offers_one_job(root):
    (job,) = jobs(None, root=root)
    assert job.name == "hash_folder"
    assert job.parameters({"folder": "tree"}) == {"folder": "tree"}
    assert job(Words(), folder="tree")["files"] == 3
