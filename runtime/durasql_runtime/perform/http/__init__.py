"""HTTP steps: df.http and df.http_multipart. In: an HttpCall. Out: an Outcome, whatever servers do.

call          what the interpreter hands over, and the failure that ends a step
config        the node's JSON, substituted: a Draft whose secrets are still tokens
multipart     parts and their encoding
placeholders  secrets: out of templates, into requests, out of messages
target        text -> URL -> Target, by the one parser
headers       which headers may be sent, and the ones that are added
attempt       Draft -> Request
network       resolving, the check of each address, dialling, pools
proxy         the operator's proxy
exchange      sending and reading, against time
body          reading against size
envelope      response -> the result's JSON
performer     the order of it all
sources       policy and secrets from the database
"""

from durasql_runtime.perform.http.call import HttpCall
from durasql_runtime.perform.http.performer import HttpPerformer
from durasql_runtime.perform.http.sources import DatabasePolicy, DatabaseSecrets, open_http
from durasql_runtime.policy import HttpLimits

__all__ = ["DatabasePolicy", "DatabaseSecrets", "HttpCall", "HttpLimits", "HttpPerformer", "open_http"]
