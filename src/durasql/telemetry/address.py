"""Where a worker serves its metrics. In: PORT or ADDRESS:PORT. Out: both, and the URL to ask it at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE: Final = {"0.0.0.0": LOOPBACK, "::": "::1"}


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`9187`, `0.0.0.0:9187` or `[::1]:9187`. Raises ValueError."""
        host, _, port = text.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        if not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host and not bracketed):
            raise ValueError(f"{text!r} is neither PORT nor ADDRESS:PORT")
        return cls(host.strip("[]") or LOOPBACK, int(port))

    def nth(self, number: int) -> Address:
        """The address of the nth of several processes: one port after the other."""
        return replace(self, port=self.port + number if self.port else 0)

    def url(self, path: str) -> str:
        """From this machine."""
        return f"http://{Address(_EVERYWHERE.get(self.host, self.host), self.port)}{path}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
