"""The order of an HTTP step. In: an HttpCall. Out: Done with the envelope, or Failed with the reason.

    draft       config and references               nothing has been looked up or sent
    standing    EXECUTE privilege, rules, limits    against the live catalog, for every request
    secrets     values of the placeholders          from here on every message goes through the redactor
    place       the one parse of the URL            scheme, host
    decide      rules on the URL                    rules on addresses follow in the network backend
    exchange    connect, send, read
    envelope    the result

Built on httpx's URL and httpcore's pool, not on httpx.AsyncClient: a client keeps one cookie jar for all
roles and logs every URL, secrets included.
"""

from __future__ import annotations

import logging
import ssl

import httpx

from durasql_runtime.outcome import Done, Failed
from durasql_runtime.perform.http.attempt import Attempt
from durasql_runtime.perform.http.call import Blocked, HttpCall, StepFailed
from durasql_runtime.perform.http.config import draft
from durasql_runtime.perform.http.envelope import envelope, server_error
from durasql_runtime.perform.http.exchange import exchange
from durasql_runtime.perform.http.network import Pools, Resolver, ThreadResolver
from durasql_runtime.perform.http.proxy import environment_proxy
from durasql_runtime.policy import (
    HttpLimits,
    PolicyError,
    PolicySource,
    Standing,
    Verdict,
    refusal,
)
from durasql_runtime.secrets import SecretError, SecretSource

# It writes headers and addresses at level DEBUG; neither belongs into a log.
logging.getLogger("httpcore").setLevel(logging.INFO)

_SIGNATURES = {
    "HTTP": ("df.http", "df.http(text,text,text,jsonb,integer)", "HTTP requests"),
    "HTTP_MULTIPART": (
        "df.http_multipart",
        "df.http_multipart(text,text,jsonb,jsonb,integer)",
        "multipart HTTP requests",
    ),
}


class HttpPerformer:
    """Performs HTTP steps of all roles; one per event loop. Close it with `aclose`.

    `resolver` and `context` replace name resolution and TLS trust; by default getaddrinfo and the CA bundle
    that SSL_CERT_FILE, SSL_CERT_DIR or certifi give.
    """

    def __init__(
        self,
        policy: PolicySource,
        secrets: SecretSource,
        limits: HttpLimits | None = None,
        *,
        resolver: Resolver | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._secrets = secrets
        self._limits = limits or HttpLimits()
        self._threads = ThreadResolver()
        self._pools = Pools(
            resolver or self._threads, context or httpx.create_ssl_context(), environment_proxy
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pools.aclose()
        self._threads.close()

    async def perform(self, request: HttpCall) -> Done | Failed:
        """Run one step to its end. Raises only what the database behind policy and secrets raises."""
        attempt = Attempt(request)
        try:
            return Done(await self._run(attempt))
        except StepFailed as error:
            return attempt.redactor.failed(error.failed)

    async def _run(self, attempt: Attempt) -> str:
        call = attempt.call
        drafted = draft(call, attempt.placeholders)
        standing = await self._standing(call)
        limits = standing.limits or self._limits
        await self._reveal(attempt)
        request = attempt.request(drafted, standing.installation, limits)
        target = request.place.target
        decision = standing.rules.decide_url(target)
        if decision.verdict is not Verdict.ALLOWED:
            message, hint = refusal(target, decision)
            raise Blocked(message, hint=hint)
        pool = await self._pools.take(call.role, target, standing.rules, use_proxy=limits.use_proxy)
        try:
            reply = await exchange(pool.connections, request, limits)
        finally:
            await self._pools.give_back(pool)
        if reply.status >= 500:
            raise server_error(call.node_type, request, reply, attempt.redactor)
        return envelope(reply, attempt.redactor)

    async def _standing(self, call: HttpCall) -> Standing:
        if not call.role:
            raise Blocked("Blocked: HTTP node has no submitted_by — cannot verify privilege")
        try:
            standing = await self._policy.standing(call.role, call.node_type)
        except PolicyError as error:
            raise StepFailed(f"HTTP privilege check failed for role '{call.role}': {error}") from error
        if not standing.may_execute:
            name, signature, purpose = _SIGNATURES[call.node_type]
            raise Blocked(
                f"Blocked: role '{call.role}' does not have EXECUTE privilege on {name}(). "
                f"Grant EXECUTE ON FUNCTION {signature} TO {_quoted(call.role)} to allow {purpose}."
            )
        return standing

    async def _reveal(self, attempt: Attempt) -> None:
        names = attempt.placeholders.names
        if not names:
            return
        try:
            attempt.learn(await self._secrets.reveal(attempt.call.role, names))
        except SecretError as error:
            raise StepFailed(str(error), hint=error.hint) from error


def _quoted(role: str) -> str:
    plain = role.isascii() and role.islower() and role.replace("_", "a").isalnum() and not role[0].isdigit()
    return role if plain else '"' + role.replace('"', '""') + '"'
