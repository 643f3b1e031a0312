"""One holder at a time; a process that dies leaves no lock behind."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lurker.errors import LurkerError
from lurker.locks import locked

HOLD = """
import sys, time
from pathlib import Path
from lurker.locks import locked
with locked(Path(sys.argv[1]), waits=False):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_refused_while_another_process_holds_it_and_free_when_that_dies(tmp_path: Path) -> None:
    path = tmp_path / "locks/run"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, env=environment)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(LurkerError, match="it is taken"), locked(path, waits=False, busy=LurkerError("it is taken")):
        pass
    holder.kill()
    holder.wait()
    with locked(path, waits=False):
        assert path.exists()
    assert not path.exists()


def test_those_that_wait_come_one_after_another(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "lock", [0], [0]

    def work() -> None:
        with locked(path, waits=True):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and not path.exists()
