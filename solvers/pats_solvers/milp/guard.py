"""Runs a program that ends with its parent: ``python guard.py FOLDER COMMAND...``.

A line on standard input asks the program to stop (the interrupt signal). Where standard input is
closed, because the parent has gone, the program is ended and ``FOLDER`` removed. Needs nothing but
the standard library, so that it starts at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading


def main(folder: str, command: list[str]) -> int:
    """Run ``command``; returns its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    orphaned = threading.Event()

    def obey() -> None:
        if sys.stdin.readline():
            child.send_signal(signal.SIGINT)
            sys.stdin.readline()
        orphaned.set()
        child.kill()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    listener = threading.Thread(target=obey, daemon=True)
    listener.start()
    status = child.wait()
    if orphaned.is_set():
        listener.join()  # it removes the folder and ends this process
    return status


if __name__ == "__main__":
    status = main(sys.argv[1], sys.argv[2:])
    sys.stdout.flush()
    os._exit(status & 0xFF)  # not waiting for the thread that listens
