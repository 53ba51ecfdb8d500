"""The language server: what the checker knows, in an editor. Needs the extra `durasql[lsp]`.

analysis.py     a text, read as far as it can be: tree, findings, names
places.py       what stands at an offset
completion.py   what could be written there
hover.py        what is to be said about it
server.py       the protocol, by pygls; only this file loads it
"""
