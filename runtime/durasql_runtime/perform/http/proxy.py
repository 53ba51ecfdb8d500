"""The operator's proxy. In: a target. Out: the proxy that the worker's environment names for it, if any.

Only asked when the setting `http_use_proxy` is on: behind a proxy it is the proxy that resolves names, so the
check of resolved addresses becomes its task.
"""

from __future__ import annotations

import urllib.request

import httpcore
import httpx

from durasql_runtime.policy import Target


def environment_proxy(target: Target) -> httpcore.Proxy | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY of the environment name for a target."""
    proxies = urllib.request.getproxies()
    url = proxies.get(target.scheme) or proxies.get("all")
    if not url or urllib.request.proxy_bypass(f"{target.host}:{target.port}"):
        return None
    parsed = httpx.URL(url if "://" in url else f"http://{url}")
    auth = (parsed.username.encode(), parsed.password.encode()) if parsed.username else None
    return httpcore.Proxy(str(parsed.copy_with(username=None, password=None)), auth=auth)
