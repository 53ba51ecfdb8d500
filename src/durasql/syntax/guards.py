"""The guards in the graph: retry, timeout, catch, finally, undo, and the loop that goes on after a failure.

In: a guard of the AST, or a node type, its `query` and its children. Out: the other one, and what builders
refuse. A guard without its configuration would silently guard nothing, so `guard` accepts exactly what the
SQL builders write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import singledispatch
from typing import Any, Final, TypeAlias

from durasql.limits import MAX_ATTEMPTS, MAX_DURATION
from durasql.syntax import ast, jsontext
from durasql.syntax.failures import failures
from durasql.syntax.rules import Refusal, refusals
from durasql.syntax.values import ConversionError

Guard: TypeAlias = ast.Retry | ast.Timeout | ast.Catch | ast.Finally | ast.Undo

NODE_TYPES: Final = ("RETRY", "TIMEOUT", "CATCH", "FINALLY", "UNDO")
CHILDREN: Final = {"RETRY": 1, "TIMEOUT": 1, "CATCH": 2, "FINALLY": 2, "UNDO": 2}
SHAPES: Final = {
    kind: "left_node and right_node" if count == 2 else "left_node and no right_node"
    for kind, count in CHILDREN.items()
}
CONFIGS: Final = {
    "RETRY": "the configuration that df.retry writes",
    "TIMEOUT": "the configuration that df.timeout writes",
    "CATCH": "the configuration that df.catch writes",
    "FINALLY": "no query",
    "UNDO": "no query",
}
CONTINUE_ON_FAILURE: Final = '{"continue_on_failure":true}'
"""The `query` of a loop that goes on after a failure; the only one of a loop that means something."""


@singledispatch
def config(node: Guard) -> str | None:
    """The `query` of a guard."""
    return None


@config.register
def _retry(node: ast.Retry) -> str:
    return _compact(
        max_attempts=node.max_attempts,
        backoff=_shortest(node.backoff),
        max_backoff=_shortest(node.max_backoff),
        jitter=node.jitter,
        errors=_words(node.errors),
    )


@config.register
def _timeout(node: ast.Timeout) -> str:
    return _compact(seconds=_shortest(node.seconds))


@config.register
def _catch(node: ast.Catch) -> str:
    return _compact(errors=_words(node.errors))


def _compact(**members: ast.Json) -> str:
    """Members in the order that is given; jsonb would sort them."""
    return "{" + ",".join(f'"{key}":{jsontext.compact(value)}' for key, value in members.items()) + "}"


def _shortest(seconds: int | Decimal) -> int | Decimal:
    """Without zeros at the end: 60 and not 60.0, 0.5 and not 0.50."""
    return int(seconds) if seconds == int(seconds) else Decimal(seconds).normalize()


def _words(errors: tuple[str, ...] | None) -> ast.Json:
    return None if errors is None else list(errors)


def guard(kind: str, query: str | None, below: list[ast.Node], name: str | None) -> Guard | None:
    """The guard that a builder would have made; None when no builder writes this `query`."""
    found = _members(kind, query)
    if found is None:
        return None
    if "errors" in found and found["errors"] is not None:
        found["errors"] = tuple(found["errors"])
    made = _MAKE[kind](*below, **found, name=name)
    return made if _possible(made) and config(made) == query else None


_MAKE: Final[dict[str, Callable[..., Guard]]] = {
    "RETRY": ast.Retry,
    "TIMEOUT": ast.Timeout,
    "CATCH": ast.Catch,
    "FINALLY": ast.Finally,
    "UNDO": ast.Undo,
}
_MEMBERS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "RETRY": {
        "max_attempts": (int,),
        "backoff": (int, Decimal),
        "max_backoff": (int, Decimal),
        "jitter": (bool,),
        "errors": (list, type(None)),
    },
    "TIMEOUT": {"seconds": (int, Decimal)},
    "CATCH": {"errors": (list, type(None))},
    "FINALLY": {},
    "UNDO": {},
}


def _members(kind: str, query: str | None) -> dict[str, Any] | None:
    """The members of a configuration, each of its type; None when it is not the one of this guard."""
    members = _MEMBERS[kind]
    if query is None:
        return None if members else {}
    try:
        found = jsontext.read(query)
    except jsontext.JsonError:
        return None
    if not isinstance(found, dict) or found.keys() != members.keys():
        return None
    return found if all(_fits(found[key], types) for key, types in members.items()) else None


def _fits(value: ast.Json, types: tuple[type, ...]) -> bool:
    """Whether a member has one of the types; a boolean is no number here, and a list holds texts."""
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        return False
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


# --- what the builders refuse of their arguments


@refusals.register
def _retry_refusals(node: ast.Retry) -> Iterator[Refusal]:
    if not 1 <= node.max_attempts <= MAX_ATTEMPTS:
        message = f"df.retry: max_attempts must be between 1 and {MAX_ATTEMPTS}, not {node.max_attempts}"
        hint = "1 means that a failed step is not tried again; who has to wait for long, loops with df.sleep"
        yield Refusal("E222", "max_attempts", message, hint)
    if node.max_backoff < node.backoff:
        message = "df.retry: max_backoff must not be shorter than backoff"
        hint = "the pause between tries begins with backoff and doubles up to max_backoff; name both"
        yield Refusal("E220", "max_backoff", message, hint)


def _possible(node: Guard) -> bool:
    """Whether a builder could have made it; arguments that are texts were judged when they were read."""
    match node:
        case ast.Retry(backoff=backoff, max_backoff=most, errors=errors):
            within = 0 <= backoff <= most <= MAX_DURATION and _fine(backoff) and _fine(most)
            return within and _normal(errors) and not any(refusals(node))
        case ast.Timeout(seconds=seconds):
            return Decimal("0.001") <= seconds <= MAX_DURATION and _fine(seconds)
        case ast.Catch(errors=errors):
            return _normal(errors)
    return True


def _fine(seconds: int | Decimal) -> bool:
    """Whether a number has no more decimals than a duration can have: thousandths of milliseconds."""
    return seconds * 1_000_000 % 1 == 0


def _normal(errors: tuple[str, ...] | None) -> bool:
    """Whether the words are in normal form: a builder writes no others."""
    if errors is None:
        return True
    try:
        return failures(",".join(errors)) == errors
    except ConversionError:
        return False
