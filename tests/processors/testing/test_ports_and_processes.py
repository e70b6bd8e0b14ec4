import socket
import subprocess
import sys

from headgate_processors.testing.ports import free_port, listens
from headgate_processors.testing.processes import command_line, descendants
from headgate_processors.testing.waiting import wait_until


def test_a_free_port_can_be_listened_on() -> None:
    """Nobody takes connections there until somebody listens."""
    port = free_port()
    assert not listens(port)
    with socket.create_server(("127.0.0.1", port)):
        assert listens(port)


def test_processes_are_found_below_the_one_that_was_started() -> None:
    """By their command line; nothing is found below one that is gone."""
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()', 'below'])"
    with subprocess.Popen([sys.executable, "-u", "-c", script], stdin=subprocess.PIPE) as process:
        wait_until(lambda: len(descendants(process.pid, command="input() below")) == 1)
        (found,) = descendants(process.pid, command="input() below")
        assert command_line(found).endswith("below")
        process.communicate(b"\n")
    assert [] == descendants(process.pid)
