import os
import signal
import subprocess
import sys

from serving.process_states import StopWatch, name_and_state


def test_a_process_that_is_stopped_for_longer_than_a_moment_is_told() -> None:
    now = [0.0]
    watch = StopWatch(clock=lambda: now[0])
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert not watch.is_any_stopped([child.pid])
        os.kill(child.pid, signal.SIGSTOP)
        while (found := name_and_state(child.pid)) and found[1] != "T":
            pass
        assert not watch.is_any_stopped([child.pid])
        now[0] = 0.6
        assert watch.is_any_stopped([child.pid])
        # One that goes on, and one that is not there, are not stopped.
        os.kill(child.pid, signal.SIGCONT)
        while (found := name_and_state(child.pid)) and found[1] == "T":
            pass
        assert not watch.is_any_stopped([child.pid, 2**22])
    finally:
        child.kill()
        child.communicate()
    assert name_and_state(2**22) is None
