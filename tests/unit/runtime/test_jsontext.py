"""JSON as text: what is looked up is a slice of what was written."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from durasql_runtime import jsontext

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(documents, st.sampled_from([None, 1]))
def test_compact_takes_white_space_only(document: object, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    assert jsontext.compact(text) == json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    assert jsontext.parsed(text) == jsontext.compact(text)


@given(st.dictionaries(st.text(max_size=5), documents), st.sampled_from([None, 1]))
def test_members_are_slices(document: dict[str, object], indent: int | None) -> None:
    found = jsontext.members(json.dumps(document, indent=indent))
    assert {name: json.loads(text) for name, text in found.items()} == document
    assert list(found) == list(document)


@given(st.lists(documents), st.sampled_from([None, 1]))
def test_elements_are_slices(document: list[object], indent: int | None) -> None:
    assert [json.loads(text) for text in jsontext.elements(json.dumps(document, indent=indent))] == document


def test_numbers_and_duplicate_keys_stay_as_they_were_written() -> None:
    text = '{"rows":[{"n":1.500,"j":{"a":1,"a":2},"big":' + "9" * 5000 + "}]}"
    first = jsontext.outline(text).first
    assert first == {"n": "1.500", "j": '{"a":1,"a":2}', "big": "9" * 5000}


def test_nesting_deeper_than_pythons_parser_is_read() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert jsontext.members(f'{{"d":{deep},"e":1}}') == {"d": deep, "e": "1"}


def test_python_constants_are_no_json() -> None:
    assert jsontext.parsed("NaN") is None
    assert jsontext.parsed("[Infinity]") is None


def test_a_row_set_of_any_origin_is_outlined() -> None:
    assert (
        jsontext.outline(' { "a" : 1 , "rows" : [ {"x":1} , {"x":2} ] } ').rows() == '[ {"x":1} , {"x":2} ]'
    )
    assert jsontext.outline('{"rows":[1,2]}').is_rows is False
    assert jsontext.outline('{"rows":[],"row_count":0,"affected":4}').affected == "4"
    assert jsontext.outline("[1]").is_object is False
