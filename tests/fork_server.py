"""A process that has imported what takes long, and runs each `prescore` command in a copy of itself.

`python tests/fork_server.py SOCKET` listens there. Great Expectations alone takes three seconds of a command's start. A
command is a process of its own, as from a shell: with its own arguments, folder, environment, and standard streams.
`prescore -c CODE` runs code instead, as Python does, and exits with 128 and the number of a signal that ended it.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

CLIENT = """\
#!{python} -IS
import json, os, socket, sys

if sys.argv[1:2] == ["serve"]:
    # A server gets its signals itself.
    os.execv({command!r}, [{command!r}, *sys.argv[1:]])
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [len(request).to_bytes(4, "big")], [0, 1, 2])
    connection.sendall(request)
    answer = connection.recv(1)
sys.exit(answer[0] if answer else "the process that runs commands has ended")
"""


def write_client(path: Path, address: Path) -> None:
    """Write a command `prescore` that lets the server at an address do its work."""
    command = Path(sys.executable).with_name("prescore")
    path.write_text(CLIENT.format(python=sys.executable, command=str(command), address=str(address)))
    path.chmod(0o755)


def serve(address: str) -> None:
    """Import what commands import, print "ready", and run a command for each connection."""
    import great_expectations  # noqa: F401

    import prescore.public.project
    import prescore.run.materialize  # noqa: F401

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        # What is there stays, and the copies share it.
        gc.freeze()
        print("ready", flush=True)  # noqa: T201
        while True:
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    _answer(connection)
            _reap()


def _answer(connection: socket.socket) -> NoReturn:
    """Run the command of a connection, send its exit code, and end."""
    header, streams, _, _ = socket.recv_fds(connection, 4, 3)
    with connection.makefile("rb") as file:
        request = json.loads(file.read(int.from_bytes(header, "big")))
    child = os.fork()
    if child == 0:
        _run(streams, *request)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _run(streams: list[int], arguments: list[str], folder: str, environment: dict[str, Any]) -> NoReturn:
    from prescore.cli import main

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = 1
    try:
        if arguments[:1] == ["-c"]:
            sys.argv = ["-c", *arguments[2:]]
            exec(arguments[1], {"__name__": "__main__"})
            code = 0
        else:
            sys.argv = ["prescore", *arguments]
            main.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except BaseException:
        traceback.print_exc()
    # To take down all that was imported, as Python does at its end, takes longer than most commands.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def _reap() -> None:
    """Let go of the processes that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    serve(sys.argv[1])
