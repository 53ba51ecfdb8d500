"""Workers seen from outside: metrics for Prometheus, spans for OpenTelemetry, and an endpoint for probes.

In: what a worker tells its observer (`durasql_runtime.observe`). Out: what monitoring systems read. Each
module needs an extra; nothing else in durasql imports them.
"""
