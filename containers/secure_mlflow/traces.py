"""Counts the pieces of a request with traces before MLflow makes an object of each: two bytes become a hundred, while all other requests wait."""

import re
from functools import lru_cache

# Strings are skipped as a whole. A string without an end goes to the end of the body, so each byte is read once.
JSON_PIECE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]', re.DOTALL)
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # https://protobuf.dev/programming-guides/encoding/


def exceed(limit, content_type, body):
    """Whether there are more than `limit` pieces. Raises ValueError for an invalid message."""
    if b"json" in content_type:
        return json_exceeds(limit, body)
    if b"protobuf" in content_type:
        return protobuf_exceeds(limit, body)
    return False  # MLflow refuses other types unread


def json_exceeds(limit, body):
    """Counts objects and lists."""
    if b"\0" in body:  # not UTF-8; in other encodings quotes and brackets are also parts of characters
        raise ValueError("JSON must be UTF-8")
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    pieces = 0
    for found in JSON_PIECE.finditer(body):
        if body[found.start()] != ord('"'):
            pieces += 1
            if pieces > limit:
                return True
    return False


def protobuf_exceeds(limit, body):
    """Counts fields at all levels."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    pieces, messages = 0, [(0, len(body), ExportTraceServiceRequest.DESCRIPTOR)]
    while messages:
        at, end, descriptor = messages.pop()
        inner = inner_messages(descriptor)
        while at < end:
            pieces += 1
            if pieces > limit:
                return True
            tag, at = varint(body, at)
            if tag >> 32:
                raise ValueError("a field number is too large")
            kind = tag & 7
            if kind == VARINT:
                _, at = varint(body, at)
            elif kind == FIXED64:
                at += 8
            elif kind == FIXED32:
                at += 4
            elif kind == LENGTH:
                size, at = varint(body, at)
                if tag >> 3 in inner:
                    messages.append((at, at + size, inner[tag >> 3]))
                at += size
            else:
                raise ValueError("OpenTelemetry has no groups")
        if at != end:
            raise ValueError("a message is cut off")
    return False


@lru_cache(maxsize=None)
def inner_messages(descriptor):
    return {field.number: field.message_type for field in descriptor.fields if field.message_type is not None}


def varint(body, at):
    value = shift = 0
    while True:
        if at >= len(body) or shift > 63:
            raise ValueError("a number is cut off")
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
