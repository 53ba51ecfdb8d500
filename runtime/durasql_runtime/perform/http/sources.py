"""Policy and secrets from the database. In: a connection of the worker's login. Out: a Standing, values.

One statement per request asks for everything at once: the privilege must be looked up anyhow, and rules
only travel when they changed, so a change of policy holds from the next request on.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg import AsyncConnection

from durasql_runtime.perform.http.performer import HttpPerformer
from durasql_runtime.policy import HttpLimits, NodeType, PolicyError, Rule, Rules, Standing
from durasql_runtime.secrets import Key, keys_from_environment, missing, unseal

Connect: TypeAlias = Callable[[], Awaitable[AsyncConnection[Any]]]
"""Gives the worker's own connection, in autocommit; called for every request, so it may change."""

_STANDING = "SELECT * FROM df._http_standing(%s, %s, %s)"
_SECRETS = "SELECT name, ciphertext FROM df._secrets_of(%s, %s)"
_ROLES_REMEMBERED = 1024


class DatabasePolicy:
    """PolicySource on df.http_policy and the catalog."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._known: OrderedDict[str, Rules] = OrderedDict()

    async def standing(self, role: str, node_type: NodeType) -> Standing:
        """Raises PolicyError if the database refuses, psycopg.OperationalError if it cannot be reached."""
        known = self._known.get(role, Rules())
        connection = await self._connect()
        try:
            cursor = await connection.execute(_STANDING, (role, node_type, known.digest))
            row = await cursor.fetchone()
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise PolicyError(error.diag.message_primary or str(error)) from error
        assert row is not None
        may_execute, digest, text, installation, request, response, timeout, use_proxy = row
        rules = known if text is None else self._remember(role, _rules(text, digest))
        return Standing(may_execute, rules, installation, HttpLimits(request, response, timeout, use_proxy))

    def _remember(self, role: str, rules: Rules) -> Rules:
        self._known[role] = rules
        self._known.move_to_end(role)
        while len(self._known) > _ROLES_REMEMBERED:
            self._known.popitem(last=False)
        return rules


def _rules(text: str, digest: str) -> Rules:
    rows = json.loads(text)
    return Rules(
        tuple(
            Rule(number, allow, host, scheme, port, private)
            for number, allow, host, scheme, port, private in rows
        ),
        digest,
    )


class DatabaseSecrets:
    """SecretSource on df.secrets; `keys` are those of DURASQL_SECRET_KEY unless given."""

    def __init__(self, connect: Connect, keys: Sequence[Key] | None = None) -> None:
        self._connect = connect
        self._given = keys

    async def reveal(self, role: str, names: frozenset[str]) -> Mapping[str, str]:
        """Raises SecretError for a secret that is not there or does not open."""
        keys = keys_from_environment() if self._given is None else self._given
        connection = await self._connect()
        cursor = await connection.execute(_SECRETS, (role, sorted(names)))
        sealed = dict(await cursor.fetchall())
        for name in sorted(names):
            if name not in sealed:
                raise missing(name, role)
        return {name: unseal(text, role, name, keys) for name, text in sealed.items()}


def open_http(connect: Connect) -> HttpPerformer:
    """The performer of a worker; its secrets open with DURASQL_SECRET_KEY."""
    return HttpPerformer(DatabasePolicy(connect), DatabaseSecrets(connect))
