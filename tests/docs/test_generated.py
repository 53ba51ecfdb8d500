"""Generated pages are what docs/generate.py would write now."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
from tests.docs.blocks import ROOT


def generator() -> ModuleType:
    """docs/generate.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return generator()


def test_generated_pages_are_fresh(generate: Any, database: Any) -> None:
    """Else: python docs/generate.py"""
    stale = [
        name
        for name, text in generate.pages(database.owner_dsn).items()
        if (ROOT / "docs" / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, f"out of date: {stale}; run python docs/generate.py"
