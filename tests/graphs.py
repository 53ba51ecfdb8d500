"""Generated workflows for property tests: every construct, nested, named, with awkward texts."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from durasql.syntax import ast

names = st.sampled_from([None, None, "a", "b", "total_2"])
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
queries = st.one_of(
    st.sampled_from(
        ["SELECT 1", "SELECT $a", "VACUUM t", 'x "y"', "a  b", "=> z", "exactly once", "", " x "]
    ),
    texts,
)

leaves = st.one_of(
    st.builds(ast.Sql, queries, name=names),
    st.builds(ast.Sleep, st.integers(0, 2**40), name=names),
    st.builds(ast.WaitSchedule, st.sampled_from(["* * * * *", "0 5 * * MON-FRI"]), name=names),
    st.builds(
        ast.Http,
        st.just("https://example.org/x"),
        st.sampled_from(["GET", "POST"]),
        st.none() | texts,
        st.none() | st.dictionaries(st.sampled_from(["Accept", "X-A"]), st.just("v")),
        name=names,
    ),
    st.builds(ast.Signal, st.sampled_from(["go", "it's"]), st.none() | st.integers(1, 100), name=names),
    st.builds(ast.Break, st.none() | texts),
    st.builds(ast.Opaque, st.just("SLEEP"), texts.filter(lambda text: not text.isdecimal()), name=names),
)

seconds = st.sampled_from([1, 60, 86_400, Decimal("0.5"), Decimal("0.001")])
errors = st.sampled_from([None, ("any",), ("40001", "08", "http:5xx", "timeout")])


def graphs(max_leaves: int = 12, *, guards: bool = True) -> st.SearchStrategy[ast.Node]:
    """Trees of every construct."""
    return st.recursive(leaves, _composites if guards else _unguarded, max_leaves=max_leaves)


def _composites(below: st.SearchStrategy[ast.Node]) -> st.SearchStrategy[ast.Node]:
    return st.one_of(_unguarded(below), _guards(below))


def _unguarded(below: st.SearchStrategy[ast.Node]) -> st.SearchStrategy[ast.Node]:
    return st.one_of(
        st.builds(ast.Then, below, below, name=names),
        st.builds(ast.If, below, below, below, name=names),
        st.builds(ast.IfRows, st.sampled_from(["a", "odd name"]), below, below, name=names),
        st.builds(_join, st.lists(below, min_size=2, max_size=4), names),
        st.builds(ast.Race, below, below, name=names),
        st.builds(ast.Loop, below, st.none() | below, name=names),
    )


def _guards(below: st.SearchStrategy[ast.Node]) -> st.SearchStrategy[ast.Node]:
    """One strategy for all of them: Hypothesis prints strategies, and nested ones grow long."""
    kinds = st.sampled_from(["LOOP", "RETRY", "TIMEOUT", "CATCH", "FINALLY", "UNDO"])
    return st.builds(_guard, kinds, below, below, st.integers(1, 1000), seconds, errors, names)


def _guard(
    kind: str,
    body: ast.Node,
    other: ast.Node,
    attempts: int,
    time: int | Decimal,
    errors: tuple[str, ...] | None,
    name: str | None,
) -> ast.Node:
    match kind:
        case "LOOP":
            return ast.Loop(body, other if attempts % 2 else None, True, name=name)
        case "RETRY":
            return ast.Retry(body, attempts, time, 86_400, attempts % 2 > 0, errors, name=name)
        case "TIMEOUT":
            return ast.Timeout(body, time, name=name)
        case "CATCH":
            return ast.Catch(body, other, errors, name=name)
        case "FINALLY":
            return ast.Finally(body, other, name=name)
    return ast.Undo(body, other, name=name)


def _join(branches: list[ast.Node], name: str | None) -> ast.Join:
    return ast.Join(tuple(branches), name=name)
