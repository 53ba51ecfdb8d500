"""`durasql lsp`: the protocol over stdin and stdout. In: requests. Out: what the other modules say.

Offsets are characters; pygls turns them into the units that the editor counts in.
"""

from __future__ import annotations

from typing import Final

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from durasql import __version__
from durasql.diagnostics import as_json
from durasql.errors import CompileError, Diagnostic, Severity
from durasql.lsp import places
from durasql.lsp.analysis import Analysis, analyse
from durasql.lsp.completion import Offer, complete
from durasql.lsp.hover import hover
from durasql.source import Span
from durasql.syntax.fmt import format_source

_SEVERITY: Final = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFO: types.DiagnosticSeverity.Information,
}
_KIND: Final = {
    "name": types.CompletionItemKind.Variable,
    "field": types.CompletionItemKind.Field,
    "variable": types.CompletionItemKind.Constant,
    "function": types.CompletionItemKind.Function,
}


class Server(LanguageServer):
    """The server and what it knows about the open texts."""

    def __init__(self) -> None:
        super().__init__("durasql", __version__)
        self._known: dict[str, Analysis] = {}
        self._good: dict[str, Analysis] = {}

    def analysis(self, uri: str) -> Analysis:
        """What is known about the text as it is now."""
        document = self.workspace.get_text_document(uri)
        known = self._known.get(uri)
        if known is None or known.source.text != document.source:
            known = self._known[uri] = analyse(document.source, document.filename or uri)
            if known.workflow is not None:
                self._good[uri] = known
        return known

    def good(self, uri: str) -> Analysis:
        """The last analysis of this text that had a tree, else the present one."""
        return self._good.get(uri) or self.analysis(uri)

    def forget(self, uri: str) -> None:
        """The text was closed."""
        self._known.pop(uri, None)
        self._good.pop(uri, None)

    def publish(self, uri: str) -> None:
        """Send the findings in a text."""
        document = self.workspace.get_text_document(uri)
        found = [_diagnostic(document, item) for item in self.analysis(uri).diagnostics]
        parameters = types.PublishDiagnosticsParams(uri=uri, version=document.version, diagnostics=found)
        self.text_document_publish_diagnostics(parameters)


server: Final = Server()


@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
def did_open(ls: Server, params: types.DidOpenTextDocumentParams) -> None:
    ls.publish(params.text_document.uri)


@server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
def did_change(ls: Server, params: types.DidChangeTextDocumentParams) -> None:
    ls.publish(params.text_document.uri)


@server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
def did_close(ls: Server, params: types.DidCloseTextDocumentParams) -> None:
    uri = params.text_document.uri
    ls.forget(uri)
    ls.text_document_publish_diagnostics(types.PublishDiagnosticsParams(uri=uri, diagnostics=[]))


@server.feature(types.TEXT_DOCUMENT_HOVER)
def on_hover(ls: Server, params: types.HoverParams) -> types.Hover | None:
    document = ls.workspace.get_text_document(params.text_document.uri)
    found = hover(ls.analysis(document.uri), document.offset_at_position(params.position))
    if found is None:
        return None
    text, span = found
    contents = types.MarkupContent(types.MarkupKind.Markdown, text)
    return types.Hover(contents, _range(document, span))


@server.feature(types.TEXT_DOCUMENT_DEFINITION)
def on_definition(ls: Server, params: types.DefinitionParams) -> list[types.Location] | None:
    """Where the name under the cursor is bound."""
    document = ls.workspace.get_text_document(params.text_document.uri)
    used = places.used_at(ls.analysis(document.uri), document.offset_at_position(params.position))
    if used is None:
        return None
    spans = (node.name_span or node.span for node in used.bound)
    return [types.Location(document.uri, _range(document, span)) for span in spans if span is not None]


@server.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=["$", ".", "{"]))
def on_completion(ls: Server, params: types.CompletionParams) -> types.CompletionList:
    document = ls.workspace.get_text_document(params.text_document.uri)
    offset = document.offset_at_position(params.position)
    offers = complete(ls.analysis(document.uri), ls.good(document.uri), offset)
    return types.CompletionList(is_incomplete=False, items=[_item(document, offer) for offer in offers])


@server.feature(types.TEXT_DOCUMENT_FORMATTING)
def on_formatting(ls: Server, params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
    """The canonical text; nothing for a text with mistakes in it."""
    document = ls.workspace.get_text_document(params.text_document.uri)
    try:
        text = format_source(document.source)
    except CompileError:
        return None
    if text == document.source:
        return []
    return [types.TextEdit(_range(document, Span(0, len(document.source))), text)]


def _diagnostic(document: TextDocument, item: Diagnostic) -> types.Diagnostic:
    text = f"{item.message}\n{item.hint}" if item.hint else item.message
    return types.Diagnostic(
        range=_range(document, item.span or Span(0, 0)),
        message=text,
        severity=_SEVERITY[item.severity],
        code=item.code,
        source="durasql",
        data={"title": as_json(item)["title"]},
    )


def _item(document: TextDocument, offer: Offer) -> types.CompletionItem:
    return types.CompletionItem(
        label=offer.text,
        kind=_KIND[offer.kind],
        detail=offer.detail,
        documentation=offer.documentation or None,
        text_edit=types.TextEdit(_range(document, offer.span), offer.text),
    )


def _range(document: TextDocument, span: Span) -> types.Range:
    """A span in the units of the editor."""
    text = document.source
    start, end = (_position(text, offset) for offset in (span.start, max(span.start, span.end)))
    return document.position_codec.range_to_client_units(document.lines, types.Range(start, end))


def _position(text: str, offset: int) -> types.Position:
    line = text.count("\n", 0, offset)
    return types.Position(line, offset - (text.rfind("\n", 0, offset) + 1))
