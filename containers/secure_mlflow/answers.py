"""MLflow's answers as JSON: the same text, with a quarter of the work.

MLflow makes a dictionary of a message, walks over the message once more for its long integers, and has the part of `json` that is written in Python
indent the whole. Here one walk writes the text. Messages that are written otherwise, such as points in time, are left to MLflow.
"""

import base64
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
texts = {}  # by the type of the message: what makes one of it


class Writer:
    """Of one type of message. `writers` are those of all types below the first."""

    def __init__(self, descriptor, writers):
        writers[descriptor.full_name] = self
        self.fields = {}
        self.knows_all = not descriptor.full_name.startswith("google.protobuf.")
        for field in descriptor.fields:
            is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value")) if is_map else (None, field)
            write = writer_of(value, writers)
            self.fields[field.number] = (f"{quoted(field.name)}: ", "map" if is_map else "list" if field.is_repeated else "one", write)
            if write is None or (is_map and key.type != Field.TYPE_STRING):
                self.knows_all = False

    def write(self, message, line="\n"):
        """`line` is a line break and the indentation of what closes the message."""
        parts = []
        inner = f"{line}  "
        item = f"{inner}  "
        for field, value in message.ListFields():
            name, shape, write = self.fields[field.number]
            if shape == "one":
                text = write(value, inner)
            elif shape == "list":
                text = f"[{item}{f',{item}'.join([write(one, item) for one in value])}{inner}]"
            else:
                text = f"{{{item}{f',{item}'.join([f'{quoted(key)}: {write(value[key], item)}' for key in value])}{inner}}}"
            parts.append(name + text)
        return f"{{{inner}{f',{inner}'.join(parts)}{line}}}" if parts else "{}"


def writer_of(field, writers):
    """Makes text of a value and the indentation that it is at. None: MLflow has to."""
    if field.cpp_type == Field.CPPTYPE_MESSAGE:
        return (writers.get(field.message_type.full_name) or Writer(field.message_type, writers)).write
    if field.cpp_type == Field.CPPTYPE_ENUM:
        names = {number: quoted(value.name) for number, value in field.enum_type.values_by_number.items()}
        return lambda value, _: names.get(value) or str(value)
    if field.type == Field.TYPE_STRING:
        return lambda value, _: quoted(value)
    if field.type == Field.TYPE_BYTES:
        return lambda value, _: quoted(base64.b64encode(value).decode())
    scalar = SCALARS.get(field.cpp_type)
    return scalar and (lambda value, _: scalar(value))


def text_of(message, *, pretty=True, convert_int64_to_number=True):
    if not (pretty and convert_int64_to_number):
        return message_to_json(message, pretty=pretty, convert_int64_to_number=convert_int64_to_number)
    descriptor = message.DESCRIPTOR
    text = texts.get(descriptor)
    if text is None:
        writers = {}
        first = Writer(descriptor, writers)
        text = texts[descriptor] = first.write if all(writer.knows_all for writer in writers.values()) else message_to_json
    return text(message)


def install():
    if hasattr(Field, "is_repeated"):  # else an older protobuf
        handlers.message_to_json = text_of
