"""What is said to the database, and how often."""

import socket

import pytest
import sqlalchemy
from mlflow.store.db.utils import create_sqlalchemy_engine

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
    monkeypatch.setattr(sqlalchemy.dialects.postgresql.psycopg2.PGDialect_psycopg2, "do_ping", lambda self, connection: asked.append(connection) or False)
    database.install()
    dialect = create_sqlalchemy_engine("postgresql+psycopg2://nobody@127.0.0.1:1/nothing").dialect
    connection = Connection()
    speak(connection.server)
    assert dialect.do_ping(connection) is False
    assert asked == [connection]


def test_other_databases_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(sqlalchemy, "create_engine", sqlalchemy.create_engine)
    database.install()
    with create_sqlalchemy_engine("sqlite://").connect() as connection:
        assert connection.execute(sqlalchemy.text("select 1")).scalar() == 1
