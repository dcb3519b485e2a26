"""What every worker process does first."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait

import cv2


def start_worker(*_: int) -> None:
    """Prepares this process, one of one a core, to work for its parent and end with it."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent was killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
