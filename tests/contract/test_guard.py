"""A guarded connection of a process that dies is reset: nobody takes what came for a whole stream."""

import os
import signal
import socket

import pytest

from pync.transport.stream import StreamSocket


@pytest.mark.parametrize("guarded", [True, False])
def test_death_of_the_process(guarded):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with theirs:
        theirs.settimeout(20)
        pid = os.fork()
        if pid == 0:
            channel = StreamSocket(ours)
            channel.guard(guarded)
            channel.write(memoryview(b"part"))
            os.kill(os.getpid(), signal.SIGKILL)
        ours.close()
        assert theirs.recv(10) == b"part"
        os.waitpid(pid, 0)
        if guarded:
            with pytest.raises(ConnectionResetError):
                theirs.recv(1)
        else:
            assert theirs.recv(1) == b""
