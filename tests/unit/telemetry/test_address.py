"""Where a worker serves its metrics."""

from __future__ import annotations

import pytest

from durasql.telemetry.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9187", "127.0.0.1", 9187),
        (":9187", "127.0.0.1", 9187),
        ("0.0.0.0:9187", "0.0.0.0", 9187),
        ("metrics.internal:80", "metrics.internal", 80),
        ("[::1]:0", "::1", 0),
    ],
)
def test_a_port_alone_is_on_the_loopback_address(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", "x", "80:", "::1:80", "99999", "-1", "1.5", "９１８７", "host:port"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither PORT nor ADDRESS:PORT"):
        Address.parse(text)


def test_it_is_shown_as_it_is_written() -> None:
    assert str(Address("::1", 1)) == "[::1]:1"
    assert str(Address.parse("0.0.0.0:1")) == "0.0.0.0:1"


def test_from_this_machine_everywhere_is_the_loopback_address() -> None:
    assert Address("0.0.0.0", 1).url("/readyz") == "http://127.0.0.1:1/readyz"
    assert Address("::", 1).url("/readyz") == "http://[::1]:1/readyz"


def test_several_processes_count_ports_up_unless_any_will_do() -> None:
    assert Address.parse("9187").nth(2).port == 9189
    assert Address.parse("0").nth(2).port == 0
