"""Kernels that talk over local sockets instead of TCP ports.

A port of the loopback interface is open to every user of the machine, and the kernel warns of it at each
start. A local socket is a file. Its path is short, since systems allow about a hundred characters, and it
goes with the kernel. Where there are none (Windows), or the temporary folder lies too deep, TCP remains.
"""

import os
import tempfile
import uuid

from jupyter_client.connect import ConnectionFileMixin
from jupyter_client.manager import AsyncKernelManager, KernelManager
from traitlets import default

LONGEST = 100  # characters of a socket's path; Linux allows 107, macOS 103


class LocalSockets(ConnectionFileMixin):
    """Where a kernel manager listens unless told otherwise."""

    @default("transport")
    def _transport_default(self) -> str:
        return "ipc" if os.name == "posix" and len(_stem()) + 2 <= LONGEST else "tcp"

    @default("ip")
    def _ip_default(self) -> str:
        return _stem() if self.transport == "ipc" else "127.0.0.1"


class LocalKernelManager(LocalSockets, KernelManager):
    """The manager for nbval."""


class AsyncLocalKernelManager(LocalSockets, AsyncKernelManager):
    """The manager for nbclient."""


def _stem() -> str:
    """The sockets are this path with -1 to -5 after it."""
    return os.path.join(tempfile.gettempdir(), f"bionet-{uuid.uuid4().hex[:12]}")
