"""An editor, as far as the language server can tell: it drives the real process over stdin and stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

URI = "file:///work/nightly.dsql"


class Editor:
    """Sends requests and notifications, reads answers. `text` is what the server has."""

    def __init__(self, encodings: list[str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "durasql", "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._number = 0
        self._version = 0
        self.text = ""
        general = {"general": {"positionEncodings": encodings}} if encodings else {}
        self.capabilities = self.request("initialize", processId=None, rootUri=None, capabilities=general)[
            "capabilities"
        ]
        self.notify("initialized")

    def open(self, text: str) -> list[dict[str, Any]]:
        """Open the text; the findings."""
        self.text = text
        document = {"uri": URI, "languageId": "dsql", "version": 0, "text": text}
        self.notify("textDocument/didOpen", textDocument=document)
        return self.findings()

    def change(self, text: str) -> list[dict[str, Any]]:
        """Replace the text; the findings in the new one."""
        self._version += 1
        self.text = text
        document = {"uri": URI, "version": self._version}
        self.notify("textDocument/didChange", textDocument=document, contentChanges=[{"text": text}])
        return self.findings()

    def findings(self) -> list[dict[str, Any]]:
        """What the server publishes next."""
        while True:
            message = self._read()
            if message.get("method") == "textDocument/publishDiagnostics":
                return list(message["params"]["diagnostics"])

    def at(self, method: str, mark: str) -> Any:
        """A request about the place where `mark` begins in the text; `|` in it is the cursor instead."""
        before, _, after = mark.partition("|") if "|" in mark else ("", "", mark)
        offset = self.text.index(before + after) + len(before)
        head = self.text[:offset]
        line, column = head.count("\n"), len(head.rpartition("\n")[2].encode("utf-16-le")) // 2
        place = {"line": line, "character": column}
        return self.request(f"textDocument/{method}", textDocument={"uri": URI}, position=place)

    def marked(self, found: dict[str, Any]) -> str:
        """The characters of a range, in UTF-16 as editors count by default."""
        start, end = found["range"]["start"], found["range"]["end"]
        lines = [line.encode("utf-16-le") for line in self.text.split("\n")]
        if start["line"] != end["line"]:
            return "\n".join(self.text.split("\n")[start["line"] : end["line"] + 1])
        return lines[start["line"]][2 * start["character"] : 2 * end["character"]].decode("utf-16-le")

    def request(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        while True:
            message = self._read()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    def notify(self, method: str, **parameters: Any) -> None:
        self._send({"method": method, "params": parameters})

    def close(self) -> int:
        """Say goodbye; the exit code of the server."""
        self.request("shutdown")
        self.notify("exit")
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(20)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(20)

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        assert length, "the server is gone"
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    """One server for the tests of a file; each test opens or changes the text."""
    started = Editor()
    yield started
    started.kill()
