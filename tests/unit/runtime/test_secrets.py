"""Sealing and opening of secrets: bound to role and name, rotatable, silent about values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durasql_runtime.secrets import SecretError, keys_from_environment, new_key, seal, unseal

KEY, OTHER = new_key(), new_key()


def keys(*texts: str):
    return keys_from_environment({"DURASQL_SECRET_KEY": ",".join(texts)})


@given(st.text(max_size=100), st.text(max_size=20), st.text(max_size=20))
def test_what_is_sealed_opens_for_its_role_and_name_only(value, role, name):
    try:
        value.encode(), role.encode(), name.encode()
    except UnicodeEncodeError:
        return
    sealed = seal(value, role, name, keys(KEY))
    assert unseal(sealed, role, name, keys(KEY)) == value
    for other_role, other_name in [(role + "x", name), (role, name + "x")]:
        with pytest.raises(SecretError, match="was not sealed for role"):
            unseal(sealed, other_role, other_name, keys(KEY))


def test_the_same_value_is_never_sealed_alike():
    assert seal("v", "r", "n", keys(KEY)) != seal("v", "r", "n", keys(KEY))


def test_rotation_seals_with_the_first_key_and_opens_with_all():
    old = seal("v", "r", "n", keys(KEY))
    assert unseal(old, "r", "n", keys(OTHER, KEY)) == "v"
    new = seal("v", "r", "n", keys(OTHER, KEY))
    assert unseal(new, "r", "n", keys(OTHER)) == "v"
    with pytest.raises(SecretError, match="another key"):
        unseal(old, "r", "n", keys(OTHER))


def test_without_a_key_the_error_says_what_to_do():
    with pytest.raises(SecretError) as error:
        unseal(seal("v", "r", "n", keys(KEY)), "r", "n", ())
    assert "DURASQL_SECRET_KEY" in error.value.hint
    with pytest.raises(SecretError) as error:
        seal("v", "r", "n", ())
    assert "durasql secret key" in error.value.hint


@pytest.mark.parametrize("text", ["x", "a" * 43, "é", pytest.param(KEY[:-4], id="cut")])
def test_a_key_that_is_none_is_refused_without_being_shown(text):
    with pytest.raises(SecretError) as error:
        keys(text)
    assert text not in str(error.value).split(":")[0].split() and len(str(error.value)) < 100


def test_a_key_does_not_show_itself():
    (key,) = keys(KEY)
    assert KEY not in repr(key) and key.raw.hex() not in repr(key)


@pytest.mark.parametrize("sealed", ["", "dq1", "dq1:00000000:", "dq9:x:y", "plain text"])
def test_nonsense_in_the_table_does_not_open(sealed):
    with pytest.raises(SecretError):
        unseal(sealed, "r", "n", keys(KEY))


def test_a_changed_ciphertext_does_not_open():
    sealed = seal("value", "r", "n", keys(KEY))
    changed = sealed[:-4] + ("AAA=" if sealed[-4:] != "AAA=" else "AAB=")
    with pytest.raises(SecretError):
        unseal(changed, "r", "n", keys(KEY))
