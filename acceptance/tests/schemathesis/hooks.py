"""What the document cannot say of a valid request: which values only the service can make up, and which may be used only once."""

import uuid

import schemathesis
from schemathesis import GenerationMode

MADE_UP_BY_THE_SERVICE = ("cursor", "Last-Event-ID")


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    return value if isinstance(value, (str, bytes)) else str(value)


@schemathesis.hook
def before_call(context, case, **kwargs):
    """A made-up cursor is refused, and a key belongs to one call: requests that are to be accepted have neither."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    for values in (case.query, case.headers):
        for name in MADE_UP_BY_THE_SERVICE:
            if values and name in values:
                del values[name]
    for name in ("If-Match", "If-None-Match"):
        # Not valid by its pattern, and yet made for it.
        if case.headers and case.headers.get(name) == "":
            del case.headers[name]
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
