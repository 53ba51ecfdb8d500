"""Stage 2, second half: terms to AST nodes, exactly as the SQL builders would evaluate them.

In: a term. Out: a `Value`, and the diagnostics of everything PostgreSQL's functions and operators would
refuse. Evaluation goes on after a mistake, so that one run reports several; it never recurses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from durasql.codes import diagnose
from durasql.errors import Diagnostic
from durasql.source import Source, Span
from durasql.syntax import ast, rules, terms, values
from durasql.syntax.calls import Bound, bind
from durasql.syntax.envelope import EnvelopeError, decode, looks_like_envelope
from durasql.syntax.functions import JSON_FUNCTIONS, build_json, unknown_function
from durasql.syntax.signatures import BUILDERS, OPERATOR_ALIASES, Builder, Parameter
from durasql.syntax.values import Bad, ConversionError, Partial, Scalar, Step, Value


class Evaluator:
    """Evaluates the terms of one text; `diagnostics` collects what is wrong."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []

    def report(self, code: str, message: str, span: Span, hint: str | None = None) -> Bad:
        """Note a mistake; the value of the term is `Bad`."""
        self.diagnostics.append(diagnose(code, message, self.source, span, hint))
        return Bad(span)

    def value(self, root: terms.Term) -> Value:
        """The value of a term, found from the leaves up."""
        found: dict[int, Value] = {}
        for term in terms.bottom_up(root):
            found[id(term)] = self._one(term, [found[id(child)] for child in term.children()])
        return found[id(root)]

    def _one(self, term: terms.Term, below: list[Value]) -> Value:
        try:
            match term:
                case terms.String():
                    scalar = Scalar("unknown", term.lexeme.value, term.span, term.lexeme.map)
                    return values.cast(scalar, term.type_name) if term.type_name else scalar
                case terms.Number():
                    return values.number(term.digits, term.span)
                case terms.Constant():
                    return Scalar("unknown" if term.value is None else "boolean", term.value, term.span)
                case terms.Negative():
                    return self._scalar(below[0], values.negative, term)
                case terms.Cast():
                    return self._cast(term, below[0])
                case terms.Prefix():
                    return self._loop(term, below[0])
                case terms.Infix():
                    return self._infix(term, *below)
                case terms.Call():
                    return self._call(term, below)
        except ConversionError as error:
            return self.report(error.code, error.message, term.span, error.hint)
        except ValueError as error:
            return self.report("E117", str(error), term.span)

    def _scalar(self, value: Value, function: object, term: terms.Term) -> Value:
        if isinstance(value, Bad):
            return value
        if not isinstance(value, Scalar):
            return self.report("E117", "a step is no number", term.span)
        return replace(values.negative(value), span=term.span)

    def _cast(self, term: terms.Cast, value: Value) -> Value:
        if isinstance(value, Bad):
            return value
        if isinstance(value, Scalar):
            return replace(values.cast(value, term.type_name), span=term.span)
        if values.TYPES.get(term.type_name) == "text":
            return value
        return self.report("E117", f"a step cannot be cast to {term.type_name}", term.type_span)

    # --- operators

    def _loop(self, term: terms.Prefix, value: Value) -> Value:
        body = self.node(value, "the operand of @>")
        return Step(ast.Loop(body, span=term.span), term.span) if body else Bad(term.span)

    def _infix(self, term: terms.Infix, left: Value, right: Value) -> Value:
        match term.operator:
            case "CONCAT":
                return self._concat(term, left, right)
            case "AS_NAME":
                return self._named(term, left, right)
            case "IF_ELSE":
                return self._if_else(term, left, right)
        symbol = terms.SYMBOLS[term.operator]
        if isinstance(left, Partial):
            return self.report(
                "E119",
                f"{symbol} follows an unfinished ?>: its !> is missing",
                term.operator_span,
                self._lost_condition(term),
            )
        first = self.node(left, f"the left side of {symbol}")
        second = self.node(right, f"the right side of {symbol}")
        if first is None or second is None:
            return Bad(term.span)
        match term.operator:
            case "THEN":
                return Step(ast.Then(first, second, span=term.span), term.span)
            case "JOIN":
                return Step(ast.Join((first, second), span=term.span), term.span)
            case "RACE":
                return Step(ast.Race(first, second, span=term.span), term.span)
            case "UNDO":
                return Step(ast.Undo(first, second, span=term.span), term.span)
        return Partial(first, second, term.span)

    def _named(self, term: terms.Infix, left: Value, right: Value) -> Value:
        if isinstance(left, Partial):
            return self.report(
                "E119",
                "|=> follows an unfinished ?>: its !> is missing",
                term.operator_span,
                self._lost_condition(term),
            )
        node = self.node(left, "the left side of |=>")
        if isinstance(right, Bad) or node is None:
            return Bad(term.span)
        if not isinstance(right, Scalar) or right.type not in ("unknown", "text"):
            return self.report(
                "E117",
                "the right side of |=> is a name in quotes",
                right.span,
                "as in 'SELECT 1' |=> 'answer'",
            )
        if not isinstance(right.value, str):
            return self.report(
                "E118", "the name after |=> is NULL, so there would be no workflow", right.span
            )
        return self._with_name(node, right, term.span)

    def _with_name(self, node: ast.Node, name: Scalar, span: Span) -> Value:
        text = str(name.value)
        refusal = rules.result_name(text)
        if refusal:
            return self.report(refusal.code, refusal.message, name.span, refusal.hint)
        return Step(replace(node, name=text, name_span=name.span, span=span), span)

    def _if_else(self, term: terms.Infix, left: Value, right: Value) -> Value:
        otherwise = self.node(right, "the right side of !>")
        if isinstance(left, Bad) or otherwise is None:
            return Bad(term.span)
        if not isinstance(left, Partial):
            message = "Invalid if-then-else: left side of !> must be a ?> expression"
            return self.report("E120", message, left.span, self._lost_condition(term.left))
        return Step(ast.If(left.condition, left.then, otherwise, span=term.span), term.span)

    def _lost_condition(self, outer: terms.Term) -> str:
        """Why there is no complete `?>` here: most often another operator was meant for its then-branch."""
        inner = outer
        while isinstance(inner, terms.Infix) and inner.operator != "IF_THEN" and not inner.left.group:
            inner = inner.left
        if isinstance(inner, terms.Infix) and inner.operator == "IF_THEN" and inner is not outer:
            branch = self.source.text[inner.right.outer.start : outer.span.end]
            shown = branch if len(branch) < 60 and "\n" not in branch else "… ~> …"
            return f"operators bind to the left; put the whole then-branch in parentheses: ?> ({shown}) !> …"
        return "write condition ?> then !> else"

    def _concat(self, term: terms.Infix, left: Value, right: Value) -> Value:
        if isinstance(left, Bad) or isinstance(right, Bad):
            return Bad(term.span)
        if not isinstance(left, Scalar) or not isinstance(right, Scalar):
            message = "|| would glue text to a step: it binds like ~>, to all that stands on its left"
            return self.report(
                "E121",
                message,
                term.operator_span,
                "put the concatenation in parentheses: ~> ('SELECT ' || '1')",
            )
        if {left.type, right.type} - {"unknown", "text"}:
            return self.report(
                "E121", "|| joins string literals only", term.operator_span, "write the text as one literal"
            )
        if left.value is None or right.value is None:
            return Scalar("text", None, term.span)
        map_ = left.map.followed_by(right.map) if left.map and right.map else None
        return Scalar("text", str(left.value) + str(right.value), term.span, map_)

    # --- functions

    def _call(self, term: terms.Call, below: list[Value]) -> Value:
        name = term.name[-1]
        if term.name[:-1] in ((), ("pg_catalog",)) and name in JSON_FUNCTIONS:
            return self._json(term, below)
        if term.name[:-1] == ("df",):
            if name in ("if_then_op", "if_else_op"):
                return self._operator_function(term, below)
            builder = BUILDERS.get(OPERATOR_ALIASES.get(name, name))
            if builder is not None:
                return self._build(term, builder, below)
        message, hint = unknown_function(term.name)
        return self.report("E115", message, term.name_span, hint)

    def _json(self, term: terms.Call, below: list[Value]) -> Value:
        if any(isinstance(value, Bad) for value in below):
            return Bad(term.span)
        scalars = [value for value in below if isinstance(value, Scalar)]
        if len(scalars) != len(below) or any(argument.name for argument in term.arguments):
            return self.report("E116", f"{term.name[-1]} takes plain values here, in order", term.span)
        return build_json(term.name[-1], scalars, term.span)

    def _operator_function(self, term: terms.Call, below: list[Value]) -> Value:
        """`df.if_then_op(c, t)` and `df.if_else_op(p, e)`: the functions behind `?>` and `!>`."""
        if len(below) != 2 or any(argument.name for argument in term.arguments):
            return self.report("E116", f"df.{term.name[-1]} takes two arguments", term.span)
        left, right = term.arguments
        operator = "IF_THEN" if term.name[-1] == "if_then_op" else "IF_ELSE"
        return self._infix(terms.Infix(term.span, operator, term.name_span, left.value, right.value), *below)

    def _build(self, term: terms.Call, builder: Builder, below: list[Value]) -> Value:
        bound = bind(term, f"df.{builder.name}", builder.parameters, below, self.report)
        if bound is None:
            return Bad(term.span)
        arguments = [
            self.argument(bound, parameter, f"df.{builder.name}") for parameter in builder.parameters
        ]
        if any(isinstance(argument, Bad) for argument in arguments):
            return Bad(term.span)
        if builder.name == "as":
            name = bound.values["name"]
            named: Any = arguments[0]
            return self._with_name(named, name, term.span) if isinstance(name, Scalar) else Bad(term.span)
        node = replace(builder.make(*arguments), span=term.span, texts=bound.text_maps())
        if isinstance(node, ast.Sql):
            node = replace(node, body_span=_body(node))
        return self._judged(node, bound, term.span)

    def _judged(self, node: ast.Node, bound: Bound, span: Span) -> Value:
        """The step, unless its builder refuses the arguments."""
        refused = list(rules.refusals(node))
        for refusal in refused:
            given = bound.values.get(refusal.argument)
            map_ = given.map if isinstance(given, Scalar) else None
            place = map_.body if map_ and map_.length else given.span if given else span
            self.report(refusal.code, refusal.message, place, refusal.hint)
        return Bad(span) if refused else Step(node, span)

    def argument(self, bound: Bound, parameter: Parameter, function: str) -> object:
        """The value for one parameter: a node, a Python value, None for NULL, or `Bad`."""
        given = bound.values.get(parameter.name)
        if given is None:
            return parameter.default_value
        what = f"argument {parameter.name} of {function}"
        if isinstance(given, Scalar) and given.value is None:
            if parameter.nullable:
                return None
            return self.report("E118", f"{what} is NULL, so there would be no workflow", given.span)
        if parameter.type == "node":
            return self.node(given, what) or Bad(given.span)
        if isinstance(given, Bad):
            return given
        if not isinstance(given, Scalar):
            return self.report("E117", f"{what} is {parameter.type}, not a step", given.span)
        try:
            found = values.convert(given, parameter.type)
        except ConversionError as error:
            return self.report(error.code, f"{what}: {error.message}", given.span, error.hint)
        if parameter.read is None:
            return found
        try:
            return parameter.read(str(found))
        except ConversionError as error:
            message = f"{function}: {parameter.name} {error.message}"
            place = given.map.body if given.map and given.map.length else given.span
            return self.report(error.code, message, place, error.hint)

    # --- a value where a step is needed

    def node(self, value: Value, what: str, *, strict: bool = False) -> ast.Node | None:
        """The step a value is taken for, as the builders wrap their operands; None after a report.

        `strict` is the rule of df.start itself, which refuses an envelope of unknown type.
        """
        match value:
            case Step(node=node):
                return node
            case Bad():
                return None
            case Partial():
                self.report(
                    "E119",
                    f"{what} is an unfinished ?>: its !> is missing",
                    value.span,
                    "write condition ?> then !> else",
                )
                return None
        if value.value is None:
            self.report("E118", f"{what} is NULL, so there would be no workflow", value.span)
        elif value.type not in ("unknown", "text"):
            hint = "put the SQL of a step in quotes"
            self.report("E117", f"{what} is a value of type {value.type}, not a step", value.span, hint)
        else:
            return self._text_node(value, strict=strict)
        return None

    def _text_node(self, value: Scalar, *, strict: bool) -> ast.Node | None:
        text = str(value.value)
        if looks_like_envelope(text):
            try:
                return decode(text, value.span)
            except EnvelopeError as error:
                if error.malformed and (strict or not error.unknown_root):
                    self.report("E123", f"Invalid Durofut JSON: {error}", value.span)
                    return None
        texts = (("query", value.map),) if value.map else ()
        body = value.map.body if value.map else None
        return ast.Sql(text, span=value.span, texts=texts, body_span=body)


def _body(node: ast.Node) -> Span | None:
    map_ = node.text_map("query")
    return map_.body if map_ else None
