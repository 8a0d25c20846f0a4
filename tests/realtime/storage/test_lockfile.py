import gc
import os
import signal
import subprocess
import sys

import pytest

from realtime.storage.lockfile import LockFile, StoreLocked

HOLDER = """
import sys
from realtime.storage.lockfile import LockFile
lock = LockFile(sys.argv[1])
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "events.db")


def test_a_lock_excludes_others_until_it_is_released(path):
    lock = LockFile(path)
    with pytest.raises(StoreLocked):
        LockFile(path)
    lock.release()
    LockFile(path).release()


def test_releasing_twice_is_no_error(path):
    lock = LockFile(path)
    lock.release()
    lock.release()


def test_a_forgotten_lock_is_released_with_its_object(path):
    lock = LockFile(path)
    del lock
    gc.collect()
    LockFile(path).release()


def test_a_refused_lock_leaves_no_descriptor_behind(path):
    lock = LockFile(path)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with pytest.raises(StoreLocked):
            LockFile(path)
    assert len(os.listdir("/dev/fd")) == before
    lock.release()


def test_another_process_is_named_and_its_lock_ends_with_it_however_it_dies(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(StoreLocked) as caught:
            LockFile(path)
        assert caught.value.holder == str(holder.pid)
        message = str(caught.value)
        assert f"{path} is in use by process {holder.pid}" in message
        assert "one process has to serve all clients" in message
        holder.send_signal(signal.SIGKILL)
    LockFile(path).release()
