"""The body of a response. In: the open response. Out: its bytes, decompressed, within the limit.

It is read in pieces and decompressed in pieces no larger than what may still come, so neither an endless
body nor a compressed bomb costs more memory than the limit.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import httpcore

from durasql_runtime.perform.http.call import StepFailed
from durasql_runtime.perform.http.network import reason

BROKEN = (httpcore.NetworkError, httpcore.ProtocolError, OSError)
"""What a connection that breaks in the middle raises."""


@dataclass(frozen=True, slots=True)
class Body:
    data: bytes
    cut: bool
    decoded: bool


async def read(response: httpcore.Response, limit: int) -> Body:
    """Raises StepFailed beyond the limit, except for a server error, of which the beginning is shown."""
    failing = response.status >= 500
    encoding = _encoding(response)
    decoder = _decoder(encoding)
    body = bytearray()
    try:
        async for chunk in response.aiter_stream():
            body += decoder.feed(chunk, limit + 1 - len(body))
            if len(body) > limit:
                if not failing:
                    raise StepFailed(_too_large(limit), hint="SELECT df.setting('http_max_response_bytes')")
                return Body(bytes(body[:limit]), True, decoder.decodes)
        decoder.finish()
    except (zlib.error, EOFError) as error:
        raise StepFailed(f"Failed to read response body: invalid {encoding} data") from error
    except BROKEN as error:
        raise StepFailed(f"Failed to read response body: {reason(error)}") from error
    finally:
        await response.aclose()
    return Body(bytes(body), False, decoder.decodes)


def _too_large(limit: int) -> str:
    return f"Failed to read response body: it is larger than {limit} bytes (setting http_max_response_bytes)"


def _encoding(response: httpcore.Response) -> str:
    values = [value for name, value in response.headers if name.lower() == b"content-encoding"]
    return b",".join(values).decode("latin-1").strip().lower()


class _Plain:
    """Bytes as they come: no encoding, or one that was not asked for and is left to the reader."""

    decodes = False

    def feed(self, data: bytes, room: int) -> bytes:
        return data[:room]

    def finish(self) -> None:
        """Nothing can be missing."""


class _Inflate:
    """gzip or deflate, never more than `room` bytes at a time."""

    decodes = True

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding != "deflate"
        self._stream: zlib._Decompress | None = None
        self._members = 0

    def feed(self, data: bytes, room: int) -> bytes:
        out = bytearray()
        while data and len(out) < room:
            if self._stream is None and self._members and not (self._gzip and data[:1] == b"\x1f"):
                return bytes(out)  # padding after the end
            self._stream = self._stream or self._open(data)
            out += self._stream.decompress(data, room - len(out))
            data = self._rest()
        return bytes(out)

    def finish(self) -> None:
        if self._stream is not None:
            raise EOFError

    def _open(self, data: bytes) -> zlib._Decompress:
        if self._gzip:
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        # "deflate" means zlib, but some servers send it without zlib's header.
        return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)

    def _rest(self) -> bytes:
        """What the last call left over; after the end of a gzip member another may follow."""
        stream = self._stream
        assert stream is not None
        if not stream.eof:
            return stream.unconsumed_tail
        self._stream = None
        self._members += 1
        return stream.unused_data


def _decoder(encoding: str) -> _Plain | _Inflate:
    return _Inflate(encoding) if encoding in ("gzip", "x-gzip", "deflate") else _Plain()
