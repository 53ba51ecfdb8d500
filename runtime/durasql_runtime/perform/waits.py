"""Arm the waits: SLEEP, WAIT_SCHEDULE and SIGNAL. They are not performed, they become due.

In: the node's configuration and the database's clock. Out: `Armed` (a journal row with its deadline, and
what the wait comes to when the deadline passes), or an outcome at once when there is nothing to wait for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from durasql.bytecode.opcodes import Op
from durasql_runtime import jsontext
from durasql_runtime.claims import Letter
from durasql_runtime.journal import Key, Row, State
from durasql_runtime.outcome import Done, Failed, Outcome
from durasql_runtime.schedule import next_tick

WAITS = frozenset({Op.SLEEP, Op.WAIT_SCHEDULE, Op.SIGNAL})


@dataclass(frozen=True, slots=True)
class Armed:
    """A wait in progress: until `due` (None: for ever) or, with `signal`, until that signal comes. What it
    comes to when the deadline passes is `elapsed`; None for a step that is then tried again.
    """

    key: Key
    due: datetime | None
    signal: str | None
    elapsed: Outcome | None

    def row(self, delay: float | None) -> Row:
        """The journal row that keeps the deadline; the database adds `delay` to its own clock."""
        node, gen = self.key
        due = None if delay is not None else self.due
        return Row(node, gen, State.WAITING, self.signal, due=due, delay=delay)


def arm(op: Op, key: Key, config: str, now: datetime) -> tuple[Armed, Row] | Outcome:
    """Begin a wait at `now`, the database's time."""
    try:
        if op is Op.SLEEP:
            return _arm_sleep(key, config, now)
        document = json.loads(config)
        if not isinstance(document, dict):
            raise TypeError("not an object")
        if op is Op.WAIT_SCHEDULE:
            return _arm_schedule(key, document, now)
        return _arm_signal(key, document, now)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        return Failed(f"Invalid {op} config: {error}")


def rearm(op: Op, row: Row, config: str) -> Armed | Failed:
    """The wait that a journal row kept; its deadline stays what it was."""
    try:
        return Armed(row.key, row.due, row.value, _elapsed(op, config))
    except (ValueError, TypeError, KeyError) as error:
        return Failed(f"Invalid {op} config: {error}")


def received(signal: str, letter: Letter) -> Done:
    """What a wait comes to when its signal arrives: JSON data stays JSON, other text becomes a string."""
    data = jsontext.parsed(letter.data)
    return _signal_value(signal, data if data is not None else json.dumps(letter.data, ensure_ascii=False))


def _elapsed(op: Op, config: str) -> Done:
    if op is Op.SLEEP:
        return _slept(int(config))
    if op is Op.WAIT_SCHEDULE:
        return Done('{"scheduled":true}')
    return _signal_value(str(json.loads(config)["signal_name"]), "null", timed_out=True)


def _arm_sleep(key: Key, config: str, now: datetime) -> tuple[Armed, Row] | Outcome:
    seconds = int(config)
    if seconds < 0:
        return Failed("Sleep duration must be non-negative")
    armed = Armed(key, now + timedelta(seconds=seconds), None, _slept(seconds))
    return armed, armed.row(float(seconds))


def _arm_schedule(key: Key, config: dict[str, Any], now: datetime) -> tuple[Armed, Row]:
    due = next_tick(str(config["cron_expr"]), config.get("timezone"), now)
    armed = Armed(key, due, None, Done('{"scheduled":true}'))
    return armed, armed.row(None)


def _arm_signal(key: Key, config: dict[str, Any], now: datetime) -> tuple[Armed, Row]:
    name = config["signal_name"]
    timeout = config.get("timeout_seconds")
    if not isinstance(name, str) or not name:
        raise ValueError("Signal name cannot be empty")
    due = None if timeout is None else now + timedelta(seconds=int(timeout))
    armed = Armed(key, due, name, _signal_value(name, "null", timed_out=True))
    return armed, armed.row(None if timeout is None else float(timeout))


def _slept(seconds: int) -> Done:
    return Done(f'{{"slept":true,"seconds":{seconds}}}')


def _signal_value(name: str, data: str, *, timed_out: bool = False) -> Done:
    quoted = json.dumps(name, ensure_ascii=False)
    return Done(f'{{"signal_name":{quoted},"timed_out":{str(timed_out).lower()},"data":{data}}}')
