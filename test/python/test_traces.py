"""How many pieces traces have."""

import json

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from secure_mlflow import door, traces

PROTOBUF, JSON = b"application/x-protobuf", b"application/json"


def request(spans, attributes=0):
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for number in range(spans):
        span = scope.spans.add(name=f"span {number}", trace_id=bytes(16), span_id=bytes(8), start_time_unix_nano=1, end_time_unix_nano=2)
        for index in range(attributes):
            attribute = span.attributes.add(key=f"key {index}")
            attribute.value.array_value.values.add(string_value="value {[")
    return message


def framed(number, content):
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def refused(content_type, body, status):
    with pytest.raises(door.Refusal) as caught:
        door.refuse_crowds([content_type], body)
    assert caught.value.status == status


class TestProtobuf:
    @pytest.mark.parametrize("spans, attributes, pieces", [(0, 0, 2), (1, 0, 8), (1, 1, 14), (3, 2, 2 + 3 * 18)])
    def test_counts_the_fields_of_all_levels(self, spans, attributes, pieces):
        body = request(spans, attributes).SerializeToString()
        assert not traces.protobuf_exceeds(pieces, body)
        assert traces.protobuf_exceeds(pieces - 1, body)

    def test_passes_the_largest_batch_of_clients(self):
        door.refuse_crowds([PROTOBUF], request(512, 20).SerializeToString())

    @pytest.mark.parametrize("body", [
        b"\x0a\x00" * 1_000_000,  # empty resources
        framed(1, framed(2, b"\x12\x00" * 1_000_000)),  # empty spans
        framed(1, framed(2, framed(2, b"\x4a\x00" * 1_000_000))),  # empty attributes
        framed(1, framed(2, framed(2, framed(9, framed(2, framed(5, b"\x0a\x00" * 1_000_000)))))),  # empty values of a list
        b"\x10\x00" * 1_000_000,  # unknown fields
        b"\x8a\x00\x00" * 1_000_000,  # a number that is written longer than it has to be
    ])
    def test_refuses_more(self, body):
        refused(PROTOBUF, body, 413)

    @pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05x", b"\x0b\x0c", b"\x0d\x00", b"\x09\x00", b"\x80" * 11, b"\xff\xff\xff\xff\x7f\x00", framed(1, b"\x12\x05x"), b"\x07"])
    def test_refuses_what_is_none(self, body):
        refused(PROTOBUF, body, 400)


class TestJson:
    def test_counts_objects_and_lists(self):
        body = b'{"a": [1, {"b{": "[[{\\"[", "c": "\\\\"}, []]}'
        assert traces.json_exceeds(3, body)
        assert not traces.json_exceeds(4, body)

    def test_passes_text_full_of_brackets(self):
        door.refuse_crowds([JSON], json.dumps({"resourceSpans": ["[{" * door.PIECES, '"[' * door.PIECES]}).encode())

    @pytest.mark.parametrize("body", [
        b'{"resourceSpans":[' + b"{}," * 1_000_000,
        b"[" * 1_000_000,
        b'"\\"' + b"{}" * 1_000_000 + b'"' + b"{}" * 1_000_000,
    ])
    def test_refuses_more(self, body):
        refused(JSON, body, 413)

    @pytest.mark.parametrize("end", [b"", b'"', b"\\", b'\\"'])
    def test_takes_no_longer_for_a_string_without_an_end(self, end):
        body = b'["' + b'\\"{' * 1_000_000 + end
        assert not traces.json_exceeds(1, body)  # looking for the end from each quote would take hours

    def test_refuses_other_encodings(self):
        refused(JSON, "{}".encode("utf-16"), 400)


def test_other_types_are_left_to_mlflow():
    door.refuse_crowds([], b"{" * 1_000_000)
    door.refuse_crowds([b"text/plain"], b"{" * 1_000_000)


def test_two_types_count_both():
    with pytest.raises(door.Refusal):
        door.refuse_crowds([b"text/plain", JSON], b"{" * 1_000_000)
