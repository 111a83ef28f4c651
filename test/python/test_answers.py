"""The text of answers is MLflow's, whatever is in them."""

import math
import pkgutil
import random
from importlib import import_module

import pytest
from google.protobuf.descriptor import FieldDescriptor as Field
from mlflow import protos
from mlflow.protos import service_pb2
from mlflow.server import handlers
from mlflow.utils.proto_json_utils import message_to_json

from secure_mlflow import answers

modules = [import_module(f"mlflow.protos.{name}") for _, name, _ in pkgutil.iter_modules(protos.__path__) if name.endswith("_pb2")]


def types_below(kind):
    return [kind, *[inner for name in kind.DESCRIPTOR.nested_types_by_name for inner in types_below(getattr(kind, name)) if not kind.DESCRIPTOR.nested_types_by_name[name].GetOptions().map_entry]]


TYPES = [kind for module in modules for name in module.DESCRIPTOR.message_types_by_name for kind in types_below(getattr(module, name))]
TEXTS = ["", "a", 'quote " and \\ and \n', "ä € 𝄞", "\x00\x1f\x7f", "</script>", "1e5"]
NUMBERS = [0.0, -0.0, 1.0, 1 / 3, 1e300, 5e-324, 123456789012345680.0, math.inf, -math.inf, math.nan]
INTEGERS = {
    Field.CPPTYPE_INT32: [0, 1, -1, 2**31 - 1], Field.CPPTYPE_INT64: [0, -1, 2**53 + 1, 2**63 - 1],
    Field.CPPTYPE_UINT32: [0, 2**32 - 1], Field.CPPTYPE_UINT64: [0, 2**64 - 1],
}


def fill(message, chance, depth=0):
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.2 or (depth > 5 and field.message_type):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            for _ in range(chance.randrange(3)):
                if value.message_type:
                    fill(getattr(message, field.name)[scalar(key, chance)], chance, depth + 1)
                else:
                    getattr(message, field.name)[scalar(key, chance)] = scalar(value, chance)
        elif field.is_repeated:
            for _ in range(chance.randrange(3)):
                if field.message_type:
                    fill(getattr(message, field.name).add(), chance, depth + 1)
                else:
                    getattr(message, field.name).append(scalar(field, chance))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            if not field.message_type.full_name.startswith("google.protobuf."):
                fill(getattr(message, field.name), chance, depth + 1)
        else:
            setattr(message, field.name, scalar(field, chance))
    return message


def scalar(field, chance):
    if field.enum_type:
        return chance.choice(list(field.enum_type.values_by_number))
    if field.type == Field.TYPE_BYTES:
        return chance.randbytes(chance.randrange(9))
    if field.type == Field.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type == Field.TYPE_STRING:
        return chance.choice(TEXTS)
    if field.type in (Field.TYPE_DOUBLE, Field.TYPE_FLOAT):
        return chance.choice(NUMBERS[:4] if field.type == Field.TYPE_FLOAT else NUMBERS)
    return chance.choice(INTEGERS[field.cpp_type])


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.DESCRIPTOR.full_name)
def test_of_each_type_it_is_that_of_mlflow(kind):
    chance = random.Random(kind.DESCRIPTOR.full_name)
    for _ in range(10):
        message = fill(kind(), chance)
        assert answers.text_of(message) == message_to_json(message)


def test_an_empty_message_within_another():
    message = service_pb2.SearchRuns.Response()
    message.runs.add().info.SetInParent()
    assert answers.text_of(message) == message_to_json(message)


def test_answers_with_many_parts_are_not_left_to_mlflow():
    for kind in (service_pb2.SearchRuns, service_pb2.SearchExperiments, service_pb2.GetMetricHistory, service_pb2.CreateRun, service_pb2.GetRun, service_pb2.SearchLoggedModels):
        answers.text_of(kind.Response())
        assert answers.texts[kind.Response.DESCRIPTOR]


def test_points_in_time_are_left_to_mlflow():
    message = service_pb2.TraceInfoV3()
    message.request_time.FromMilliseconds(1)
    assert answers.text_of(message) == message_to_json(message)
    assert answers.texts[service_pb2.TraceInfoV3.DESCRIPTOR] is None


@pytest.mark.parametrize("unusual", [{"pretty": False}, {"convert_int64_to_number": False}])
def test_so_is_another_form(unusual):
    message = service_pb2.SearchRuns.Response()
    message.runs.add().info.start_time = 1
    assert answers.text_of(message, **unusual) == message_to_json(message, **unusual) != answers.text_of(message)


@pytest.mark.parametrize("known", [True, False])
def test_the_handlers_take_it_where_protobuf_is_new_enough(known, monkeypatch):
    class Older:
        pass

    monkeypatch.setattr(handlers, "message_to_json", message_to_json)
    if not known:
        monkeypatch.setattr(answers, "Field", Older)
    answers.install()
    assert handlers.message_to_json is (answers.text_of if known else message_to_json)
