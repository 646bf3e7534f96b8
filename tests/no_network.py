"""Run `python no_network.py LOG app.py ...` or `LOG -m zoo ...`: whatever leaves the machine is written to LOG and fails."""

import runpy
import sys
from pathlib import Path

LOG, *COMMAND = sys.argv[1:]
LOOPBACK = {"127.0.0.1", "::1", "localhost", "0.0.0.0", "", None}


def forbid(event: str, arguments: tuple) -> None:
    """Refuse names and addresses that are not this machine's."""
    if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    if name not in LOOPBACK:
        with Path(LOG).open("a", encoding="utf-8") as log:
            log.write(f"{event} {host}\n")
        raise PermissionError(f"{event} to {host}: this must work without a network")


sys.addaudithook(forbid)
sys.path.insert(0, str(Path.cwd()))
if COMMAND[0] == "-m":
    sys.argv = COMMAND[1:]
    runpy.run_module(COMMAND[1], run_name="__main__", alter_sys=True)
else:
    sys.argv = COMMAND
    runpy.run_path(COMMAND[0], run_name="__main__")
