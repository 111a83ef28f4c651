"""Writes the same JSON as MLflow in one pass over the message; MLflow needs three. Unusual messages are left to MLflow."""

import math
from json.encoder import encode_basestring_ascii as quoted

from google.protobuf.descriptor import FieldDescriptor as Field
from mlflow.server import handlers
from mlflow.utils.proto_json_utils import message_to_json

NOT_FINITE = {"inf": '"Infinity"', "-inf": '"-Infinity"', "nan": '"NaN"'}
SCALARS = {
    **dict.fromkeys((Field.CPPTYPE_INT32, Field.CPPTYPE_INT64, Field.CPPTYPE_UINT32, Field.CPPTYPE_UINT64), int.__repr__),
    Field.CPPTYPE_BOOL: lambda value: "true" if value else "false",
    Field.CPPTYPE_DOUBLE: lambda value: float.__repr__(value) if math.isfinite(value) else NOT_FINITE[str(value)],
}
texts = {}  # the function that writes it, by type of message


class Writer:
    """`writers` holds the writers of all nested types."""

    def __init__(self, descriptor, writers):
        writers[descriptor.full_name] = self
        self.fields = {field.number: (f"{quoted(field.name)}: ", field.is_repeated, writer_of(field, writers)) for field in descriptor.fields}
        self.knows_all = not descriptor.full_name.startswith("google.protobuf.") and all(write for *_, write in self.fields.values())

    def write(self, message, line="\n"):
        """`line` is a line break and the indentation of the closing brace."""
        parts = []
        inner = f"{line}  "
        item = f"{inner}  "
        for field, value in message.ListFields():
            name, repeated, write = self.fields[field.number]
            parts.append(f"{name}[{item}{f',{item}'.join([write(one, item) for one in value])}{inner}]" if repeated else name + write(value, inner))
        return f"{{{inner}{f',{inner}'.join(parts)}{line}}}" if parts else "{}"


def writer_of(field, writers):
    """None if MLflow must write it."""
    kind = field.message_type
    if kind:
        return None if kind.GetOptions().map_entry else (writers.get(kind.full_name) or Writer(kind, writers)).write
    if field.enum_type:
        names = {number: quoted(value.name) for number, value in field.enum_type.values_by_number.items()}
        return lambda value, _: names.get(value) or str(value)
    scalar = quoted if field.type == Field.TYPE_STRING else SCALARS.get(field.cpp_type)
    return scalar and (lambda value, _: scalar(value))


def text_of(message, **form):
    descriptor = message.DESCRIPTOR
    if descriptor not in texts:
        writers = {}
        write = Writer(descriptor, writers).write
        texts[descriptor] = write if all(writer.knows_all for writer in writers.values()) else None
    text = texts[descriptor]
    return text(message) if text and all(form.values()) else message_to_json(message, **form)


def install():
    if hasattr(Field, "is_repeated"):  # not in an older protobuf
        handlers.message_to_json = text_of
