"""Secrets: sealing on the client, opening in the worker. In: a value and whose it is. Out: text for
df.secrets, and back.

AES-256-GCM from `cryptography`, with the role and the secret's name as associated data: a ciphertext that is
copied into another role's row, or under another name, does not open. Keys are 32 bytes in base64 and stand in
DURASQL_SECRET_KEY of workers and operators, never in the database. Several keys, separated by commas, make
rotation possible: the first one seals, all of them open.

    dq1:<id of the key>:<base64 of nonce and ciphertext>
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from durasql.errors import RunError

KEY_VARIABLE = "DURASQL_SECRET_KEY"
SHORTEST = 4
"""Characters a secret must have. A shorter one could not be kept out of results without mutilating them."""
_FORMAT = "dq1"
_NONCE_BYTES = 12


class SecretError(RunError):
    """A secret that cannot be sealed or opened; `hint` tells what to do. Never carries a value."""

    code = "R630"
    exit_code = 2

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One key. Two keys are told apart by `id`, which says nothing about the key."""

    raw: bytes

    @property
    def id(self) -> str:
        return hashlib.sha256(b"durasql secret key " + self.raw).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"Key(id={self.id!r})"


def new_key() -> str:
    """A fresh key as it goes into DURASQL_SECRET_KEY."""
    return base64.urlsafe_b64encode(AESGCM.generate_key(256)).decode()


def keys_from_environment(environment: Mapping[str, str] | None = None) -> tuple[Key, ...]:
    """The keys of DURASQL_SECRET_KEY, none if it is not set; raises SecretError if it holds no keys."""
    text = (os.environ if environment is None else environment).get(KEY_VARIABLE, "")
    return tuple(_key(part.strip()) for part in text.split(",") if part.strip())


def seal(value: str, role: str, name: str, keys: Sequence[Key]) -> str:
    """Encrypt with the first key."""
    if not keys:
        raise SecretError(
            f"{KEY_VARIABLE} is not set",
            "`durasql secret key` makes a key; give the same one to all workers and operators.",
        )
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(keys[0].raw).encrypt(nonce, value.encode(), _belongs_to(role, name))
    return f"{_FORMAT}:{keys[0].id}:{base64.b64encode(sealed).decode()}"


def unseal(sealed: str, role: str, name: str, keys: Sequence[Key]) -> str:
    """Decrypt with the key that sealed it; raises SecretError."""
    if not keys:
        raise SecretError(
            f"secret '{name}' cannot be opened: this worker has no {KEY_VARIABLE}",
            f"Start the worker with the {KEY_VARIABLE} that the secret was set with.",
        )
    form, _, rest = sealed.partition(":")
    key_id, _, text = rest.partition(":")
    key = next((key for key in keys if key.id == key_id), None)
    if form != _FORMAT or key is None:
        raise SecretError(
            f"secret '{name}' cannot be opened: it was sealed with another key ({key_id[:8]})",
            f"Add that key to {KEY_VARIABLE} of the worker, or set the secret again.",
        )
    try:
        data = base64.b64decode(text, validate=True)
        return (
            AESGCM(key.raw)
            .decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _belongs_to(role, name))
            .decode()
        )
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise SecretError(
            f"secret '{name}' cannot be opened: it was not sealed for role '{role}' under this name",
            f"Set it again: durasql secret set {name}",
        ) from error


class SecretSource(Protocol):
    """Gives values of a role's secrets at the moment of sending."""

    async def reveal(self, role: str, names: frozenset[str]) -> Mapping[str, str]:
        """Values of all the names; raises SecretError if one is missing."""
        ...


def missing(name: str, role: str) -> SecretError:
    """The error of a secret that was never set."""
    return SecretError(f"secret '{name}' of role '{role}' is not set", f"Set it: durasql secret set {name}")


def _belongs_to(role: str, name: str) -> bytes:
    return f"{role}\x00{name}".encode()


def _key(text: str) -> Key:
    try:
        raw = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise SecretError(
            f"{KEY_VARIABLE} does not hold a key: 32 bytes in base64 are needed",
            "`durasql secret key` makes one.",
        )
    return Key(raw)
