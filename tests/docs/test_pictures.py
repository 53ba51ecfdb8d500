"""The pictures of docs/ show what durasql does now."""

from __future__ import annotations

import importlib.util
import re
from typing import Any
from xml.etree import ElementTree

from tests.docs.blocks import ROOT


def words(picture: str) -> list[str]:
    """The texts of a picture: colours and places may change with the library that draws a terminal."""
    root = ElementTree.fromstring(picture)
    texts = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]
    return [re.sub(r"\s+", " ", text) for text in texts]


def test_pictures_are_fresh(database: Any) -> None:
    """Else: make pages"""
    spec = importlib.util.spec_from_file_location("docs_pictures", ROOT / "docs" / "pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, made in module.pictures(database.owner_dsn).items():
        kept = (ROOT / "docs" / "pictures" / name).read_text(encoding="utf-8")
        assert words(kept) == words(made), f"{name} is out of date: make pages"
