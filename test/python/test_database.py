"""What is said to the database, and how often."""

import socket

import pytest
import sqlalchemy
from mlflow.entities import Dataset, DatasetInput
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from secure_mlflow import database


class Connection:
    """One end of a connection; the other is the database's."""

    def __init__(self):
        self.own, self.server = socket.socketpair()

    def fileno(self):
        return self.own.fileno()


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(sqlalchemy, "create_engine", sqlalchemy.create_engine)
    monkeypatch.setattr(SqlAlchemyStore, "_get_run_inputs", SqlAlchemyStore._get_run_inputs)
    database.install()
    return create_sqlalchemy_engine("postgresql+psycopg2://nobody@127.0.0.1:1/nothing")


def test_changed_rows_are_sent_together(engine, monkeypatch):
    assert engine.dialect.executemany_mode.name == "EXECUTEMANY_VALUES_PLUS_BATCH"
    monkeypatch.undo()
    assert create_sqlalchemy_engine("postgresql+psycopg2://nobody@127.0.0.1:1/nothing").dialect.executemany_mode.name != "EXECUTEMANY_VALUES_PLUS_BATCH"


def test_a_silent_connection_lives_without_being_asked(engine):
    assert engine.dialect.do_ping(Connection()) is True


@pytest.mark.parametrize("speak", [lambda server: server.send(b"E"), lambda server: server.close()])
def test_one_on_which_the_database_has_spoken_is_asked(monkeypatch, speak):
    asked = []
    monkeypatch.setattr(sqlalchemy, "create_engine", sqlalchemy.create_engine)
    monkeypatch.setattr(SqlAlchemyStore, "_get_run_inputs", SqlAlchemyStore._get_run_inputs)
    monkeypatch.setattr(sqlalchemy.dialects.postgresql.psycopg2.PGDialect_psycopg2, "do_ping", lambda self, connection: asked.append(connection) or False)
    database.install()
    dialect = create_sqlalchemy_engine("postgresql+psycopg2://nobody@127.0.0.1:1/nothing").dialect
    connection = Connection()
    speak(connection.server)
    assert dialect.do_ping(connection) is False
    assert asked == [connection]


def test_other_databases_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(sqlalchemy, "create_engine", sqlalchemy.create_engine)
    monkeypatch.setattr(SqlAlchemyStore, "_get_run_inputs", SqlAlchemyStore._get_run_inputs)
    database.install()
    with create_sqlalchemy_engine("sqlite://").connect() as connection:
        assert connection.execute(sqlalchemy.text("select 1")).scalar() == 1


def test_a_new_run_is_not_asked_for_inputs_and_others_are(monkeypatch, tmp_path):
    monkeypatch.setattr(sqlalchemy, "create_engine", sqlalchemy.create_engine)
    asked = []
    ask = SqlAlchemyStore._get_run_inputs
    monkeypatch.setattr(SqlAlchemyStore, "_get_run_inputs", lambda self, session, run_uuids: asked.append(run_uuids) or ask(self, session, run_uuids))
    database.install()
    store = SqlAlchemyStore(f"sqlite:///{tmp_path}/store.db", str(tmp_path))
    run = store.create_run("0", "someone", 1, [], "name")
    assert (asked, run.inputs.dataset_inputs) == ([], [])
    dataset = Dataset(name="data", digest="1", source_type="local", source="x")
    store.log_inputs(run.info.run_id, [DatasetInput(dataset=dataset, tags=[])])
    assert [found.dataset.name for found in store.get_run(run.info.run_id).inputs.dataset_inputs] == ["data"]
    assert [[found.dataset.name for found in one.inputs.dataset_inputs] for one in store.search_runs(["0"], "", 1)] == [["data"]]
    assert asked == [[run.info.run_id]] * 2
