from __future__ import annotations

import signal
import sys
import types

import clean_up
import pytest
from conftest import CONTAINERS, Database, counted, start

DAY = 86400
NOW = 1_700_000_000
HEAD = "1b5f0d9ad7c1"
RESTORED = "AS still (id, uri, ending)"


class S3:
    """Objects with their sizes, by key. `denied` it does not delete."""

    def __init__(self, events: list[str]):
        self.events = events
        self.objects: dict[str, int] = {}
        self.denied: set[str] = set()

    def get_paginator(self, operation):
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket, Prefix, PaginationConfig):
        assert Bucket == "bucket"
        keys = sorted(key for key in self.objects if key.startswith(Prefix))
        size = PaginationConfig["PageSize"]
        pages = [keys[at : at + size] for at in range(0, len(keys), size)]
        yield from ({"Contents": [{"Key": key, "Size": self.objects[key]} for key in page]} for page in pages)
        if not pages:
            yield {}

    def delete_objects(self, Bucket, Delete):
        assert (Bucket, Delete["Quiet"]) == ("bucket", True)
        keys = [entry["Key"] for entry in Delete["Objects"]]
        assert 0 < len(keys) <= 1000
        self.events.append(f"delete {keys[0]}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else ""))
        errors = [{"Key": key, "Code": "AccessDenied"} for key in keys if key in self.denied]
        for key in set(keys) - self.denied:
            del self.objects[key]
        return {"Errors": errors} if errors else {}


class World:
    """A store and a bucket. `events` holds what happened to rows and objects, in order."""

    def __init__(self):
        self.events: list[str] = []
        self.s3 = S3(self.events)
        self.runs: list[tuple] = []
        self.models: list[tuple] = []
        self.experiments: list[tuple] = []
        self.needed: set[str] = set()
        self.restored: set[str] = set()
        self.revision: list[tuple] = [(HEAD,)]
        self.until: set[int] = set()
        self.database = Database({
            "to_regclass": lambda _: [("alembic_version" if self.revision else None,)],
            "alembic_version": lambda _: self.revision,
            RESTORED: lambda values: [] if values["id"] in self.restored else [(1,)],
            clean_up.REGISTERED: lambda values: [(1,)] if values[0] in self.needed else [],
            clean_up.RUNS: lambda values: self.until.add(values["until"]) or self.runs,
            clean_up.EXPERIMENTS: lambda values: self.until.add(values["until"]) or self.experiments,
            clean_up.MODELS: lambda values: self.until.add(values["until"]) or self.models,
        }, self.events)

    def run(self, seconds: float = 30 * DAY) -> None:
        clean_up.CleanUp("postgresql+psycopg2://mlflow@host/mlflow", "s3://bucket/mlflow", seconds).run()

    def add_run(self, identifier: str, objects: int = 1, uri: str | None = None) -> None:
        self.runs.append((identifier, uri or f"mlflow-artifacts:/1/{identifier}/artifacts", f"/{identifier}/artifacts"))
        self.s3.objects.update({f"mlflow/1/{identifier}/artifacts/{number:04}": 10 for number in range(objects)})

    def add_model(self, identifier: str) -> None:
        self.models.append((identifier, f"mlflow-artifacts:/1/models/{identifier}/artifacts", f"/models/{identifier}/artifacts"))
        self.s3.objects[f"mlflow/1/models/{identifier}/artifacts/MLmodel"] = 100


@pytest.fixture
def world(monkeypatch):
    world = World()
    monkeypatch.setattr(clean_up.time, "time", lambda: NOW)
    monkeypatch.setattr(clean_up.psycopg2, "connect", world.database.connect)
    monkeypatch.setattr(clean_up.boto3, "client", lambda service: world.s3)

    class Store:
        def __init__(self, uri, artifacts):
            assert (uri, artifacts) == ("postgresql+psycopg2://mlflow@host/mlflow", "mlflow-artifacts:/")

        _hard_delete_run = staticmethod(lambda identifier: world.events.append(f"drop run {identifier}"))
        _hard_delete_logged_model = staticmethod(lambda identifier: world.events.append(f"drop model {identifier}"))
        _hard_delete_experiment = staticmethod(lambda identifier: world.events.append(f"drop experiment {identifier!r}"))

    for name, content in {
        "mlflow.store.db.utils": {"_get_latest_schema_revision": lambda: HEAD},
        "mlflow.store.tracking.sqlalchemy_store": {"SqlAlchemyStore": Store},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return world


class TestFolder:
    @pytest.mark.parametrize(("uri", "folder"), [
        ("mlflow-artifacts:/1/abc/artifacts", "mlflow/1/abc/artifacts/"),
        ("mlflow-artifacts:/abc/artifacts", "mlflow/abc/artifacts/"),
        ("mlflow-artifacts:/1/abc/artifacts/", None),
        ("mlflow-artifacts:/1/xabc/artifacts", None),
        ("mlflow-artifacts:/1/abc", None),
        ("mlflow-artifacts:/1", None),
        ("mlflow-artifacts:/", None),
        ("mlflow-artifacts://other/1/abc/artifacts", None),
        ("mlflow-artifacts:/1/abc/artifacts?x", None),
        ("mlflow-artifacts:/1/abc/artifacts#x", None),
        ("mlflow-artifacts:/?x/abc/artifacts", None),
        ("s3://bucket/mlflow/1/abc/artifacts", None),
        ("/mlflow/1/abc/artifacts", None),
        ("", None),
        (None, None),
    ])
    def test_is_that_of_one_run_alone(self, world, uri, folder):
        assert clean_up.Bucket("s3://bucket/mlflow").folder_of(uri, "/abc/artifacts") == folder

    def test_lies_below_the_path_of_the_server(self, world):
        bucket = clean_up.Bucket("s3://bucket/teams/ml")
        assert bucket.name == "bucket"
        assert bucket.folder_of("mlflow-artifacts:/1/abc/artifacts", "/abc/artifacts") == "teams/ml/1/abc/artifacts/"


class TestRun:
    def test_removes_objects_first_and_says_what(self, world, capsys):
        world.add_run("r1", objects=2)
        world.add_model("m1")
        world.experiments = [(7,)]
        world.s3.objects["mlflow/1/r10/artifacts/0"] = 1  # of another run
        world.run()
        assert [event for event in world.events if event.split()[0] in ("delete", "drop")] == [
            "delete mlflow/1/r1/artifacts/0000 and 1 more", "drop run r1", "delete mlflow/1/models/m1/artifacts/MLmodel", "drop model m1", "drop experiment '7'",
        ]
        assert world.s3.objects == {"mlflow/1/r10/artifacts/0": 1}
        assert capsys.readouterr().out == "clean-up removed 1 runs, 1 models, 1 experiments, 3 objects of 120 bytes\n"

    def test_counts_the_age_in_milliseconds_before_now(self, world):
        world.run(30 * DAY)
        assert world.until == {(NOW - 30 * DAY) * 1000}

    def test_keeps_what_a_registered_model_needs(self, world, capsys):
        world.add_run("r1")
        world.add_run("r2")
        world.add_model("m1")
        world.needed = {"r1", "m1"}
        world.run()
        assert set(world.s3.objects) == {"mlflow/1/r1/artifacts/0000", "mlflow/1/models/m1/artifacts/MLmodel"}
        assert [event for event in world.events if event.startswith("drop")] == ["drop run r2"]
        assert capsys.readouterr().out.endswith("removed 1 runs, 0 models, 0 experiments, 1 objects of 10 bytes; kept 2 that a registered model needs\n")

    def test_keeps_what_has_its_files_elsewhere(self, world, capsys):
        world.add_run("r1", uri="s3://bucket/mlflow/1/r1/artifacts")
        world.run()
        assert len(world.s3.objects) == 1
        assert capsys.readouterr().out.endswith("; kept 1 that have their files elsewhere\n")

    def test_keeps_what_was_restored_meanwhile(self, world, capsys):
        world.add_run("r1")
        world.restored = {"r1"}
        world.run()
        assert len(world.s3.objects) == 1
        assert not any(event.startswith("drop") for event in world.events)
        assert "removed 0 runs" in capsys.readouterr().out

    def test_asks_again_with_the_query_that_found_it(self, world):
        world.add_run("r1")
        world.run()
        (asked,) = [event for event in world.events if RESTORED in event]
        assert " ".join(clean_up.RUNS.split()) in asked

    def test_keeps_the_row_where_s3_refuses(self, world):
        world.add_run("r1", objects=3)
        world.s3.denied = {"mlflow/1/r1/artifacts/0001"}
        with pytest.raises(RuntimeError, match="S3 did not delete mlflow/1/r1/artifacts/0001: AccessDenied"):
            world.run()
        assert not any(event.startswith("drop") for event in world.events)

    def test_removes_as_many_objects_in_a_call_as_s3_takes(self, world, capsys):
        world.add_run("r1", objects=2001)
        world.run()
        assert [event for event in world.events if event.startswith("delete")] == [
            "delete mlflow/1/r1/artifacts/0000 and 999 more", "delete mlflow/1/r1/artifacts/1000 and 999 more", "delete mlflow/1/r1/artifacts/2000",
        ]
        assert "2001 objects of 20010 bytes" in capsys.readouterr().out

    def test_drops_the_row_of_a_run_without_files(self, world):
        world.add_run("r1", objects=0)
        world.run()
        assert "drop run r1" in world.events

    @pytest.mark.parametrize("revision", [[("older",)], [], [(HEAD,), ("another",)]])
    def test_touches_no_schema_but_that_of_this_mlflow(self, world, revision):
        world.revision = revision
        world.add_run("r1")
        with pytest.raises(RuntimeError, match="is not that of this MLflow"):
            world.run()
        assert len(world.s3.objects) == 1

    def test_connects_as_libpq_wants_and_may_idle(self, world):
        world.run()
        assert world.database.uris == ["postgresql://mlflow@host/mlflow"]
        assert world.database.autocommit is True
        assert world.events[0] == "SET idle_session_timeout = 0"


class TestMain:
    @pytest.fixture(autouse=True)
    def settings(self, monkeypatch):
        for name, value in {
            "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://mlflow@host/mlflow",
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/mlflow",
            "CLEAN_UP_OLDER_THAN": "86400",
        }.items():
            monkeypatch.setenv(name, value)
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)

    def test_says_what_it_removed(self, world, capsys):
        clean_up.main()
        out = capsys.readouterr().out
        assert out == "clean-up removed 0 runs, 0 models, 0 experiments, 0 objects of 0 bytes\n"
        assert counted("failedCleanUps", out) == []
        assert world.until == {(NOW - DAY) * 1000}

    def test_says_why_not_in_the_line_that_rings_and_exits_with_1(self, world, capsys):
        world.revision = [("older",)]
        with pytest.raises(SystemExit) as end:
            clean_up.main()
        assert end.value.code == 1
        out = capsys.readouterr().out
        assert counted("failedCleanUps", out) == out.splitlines()
        assert out.startswith("clean-up FAILED: RuntimeError: the schema of the database, [('older',)], is not that of this MLflow")

    def test_stops_when_it_is_told_to(self, world, capsys):
        clean_up.main()
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGTERM)
        assert end.value.code == 1
        assert capsys.readouterr().out.endswith("clean-up FAILED: stopped by SIGTERM\n")


def test_as_a_process_it_says_why_not_in_one_line():
    process = start([CONTAINERS / "clean_up.py"], {"PYTHONUNBUFFERED": "1"})
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == "clean-up FAILED: KeyError: 'MLFLOW_BACKEND_STORE_URI'\n"


def test_this_mlflow_has_what_it_calls():
    """None of it is public."""
    from mlflow.store.db.utils import _get_latest_schema_revision
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    assert isinstance(_get_latest_schema_revision(), str)
    for name in ("_hard_delete_run", "_hard_delete_logged_model", "_hard_delete_experiment"):
        assert callable(getattr(SqlAlchemyStore, name)), name
