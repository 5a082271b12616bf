import os
import subprocess
import sys
import time
from pathlib import Path

from serving.triton import launcher


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_command_does_not_outlive_its_parent() -> None:
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, sys.argv[1], str(os.getpid()), '/bin/sleep', '60'])\n"
        "while b'sleep' not in open(f'/proc/{child.pid}/cmdline', 'rb').read().split(b'\\0')[0]: time.sleep(0.02)\n"
        "os.write(1, str(child.pid).encode())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run([sys.executable, "-c", program, launcher.__file__], capture_output=True, check=False)
    child = int(parent.stdout)

    deadline = time.monotonic() + 5
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(child)


def test_a_parent_that_is_gone_already_starts_nothing() -> None:
    wrong_parent = str(os.getppid())
    done = subprocess.run(
        [sys.executable, launcher.__file__, wrong_parent, "/bin/echo", "started"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, b"", b"the parent is gone")
