"""What is said to the database, and how often."""

import socket

import pytest
import sqlalchemy
from mlflow.entities import Dataset, DatasetInput, ExperimentTag, Metric, Param, RunTag
from mlflow.entities.model_registry import RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import create_sqlalchemy_engine
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as SqlAlchemyModelRegistry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from secure_mlflow import database


class Connection:
    """One end of a connection; the other is the database's."""

    def __init__(self):
        self.own, self.server = socket.socketpair()

    def fileno(self):
        return self.own.fileno()


@pytest.fixture(autouse=True)
def restore(monkeypatch):
    """What `install` replaces."""
    monkeypatch.setattr(sqlalchemy, "create_engine", sqlalchemy.create_engine)
    monkeypatch.setattr(sqlalchemy.orm, "subqueryload", sqlalchemy.orm.subqueryload)
    monkeypatch.setattr(SqlAlchemyStore, "_get_run_inputs", SqlAlchemyStore._get_run_inputs)
    monkeypatch.setattr(SqlAlchemyStore, "log_batch", SqlAlchemyStore.log_batch)


@pytest.fixture
def engine():
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
    monkeypatch.setattr(sqlalchemy.dialects.postgresql.psycopg2.PGDialect_psycopg2, "do_ping", lambda self, connection: asked.append(connection) or False)
    database.install()
    dialect = create_sqlalchemy_engine("postgresql+psycopg2://nobody@127.0.0.1:1/nothing").dialect
    connection = Connection()
    speak(connection.server)
    assert dialect.do_ping(connection) is False
    assert asked == [connection]


def test_other_databases_are_left_as_they_are():
    database.install()
    with create_sqlalchemy_engine("sqlite://").connect() as connection:
        assert connection.execute(sqlalchemy.text("select 1")).scalar() == 1


def test_a_new_run_is_not_asked_for_inputs_and_others_are(monkeypatch, tmp_path):
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


@pytest.fixture
def store(tmp_path):
    database.install()
    return SqlAlchemyStore(f"sqlite:///{tmp_path}/store.db", str(tmp_path))


def statements_of(store, use):
    """The statements that `use` executes, and the most connections that it holds at a time."""
    statements, held = [], [0]
    listeners = [
        ("before_cursor_execute", lambda connection, cursor, statement, *_: statements.append(statement)),
        ("checkout", lambda *_: held.append(held[-1] + 1)),
        ("checkin", lambda *_: held.append(held[-1] - 1)),
    ]
    for name, listener in listeners:
        sqlalchemy.event.listen(store.engine, name, listener)
    use()
    for name, listener in listeners:
        sqlalchemy.event.remove(store.engine, name, listener)
    return statements, max(held)


def test_tags_of_experiments_are_loaded_without_the_query_for_the_experiments(store):
    for name in ("one", "two"):
        store.set_experiment_tag(store.create_experiment(name), ExperimentTag("tag", name))
    found = []
    statements, _ = statements_of(store, lambda: found.extend(store.search_experiments(filter_string="tags.tag LIKE '%o%'", order_by=["name"])))
    assert [experiment.tags for experiment in found] == [{"tag": "one"}, {"tag": "two"}]
    assert len([statement for statement in statements if "LIMIT" in statement]) == 1


def test_tags_and_aliases_of_models_are_loaded_without_the_query_for_the_models(tmp_path):
    database.install()
    store = SqlAlchemyModelRegistry(f"sqlite:///{tmp_path}/registry.db")
    for name in ("one", "two"):
        store.create_registered_model(name, tags=[RegisteredModelTag("tag", name)])
        store.create_model_version(name, "source")
        store.set_registered_model_alias(name, "champion", 1)
    found = []
    statements, _ = statements_of(store, lambda: found.extend(store.search_registered_models(filter_string="name LIKE '%o%'", order_by=["name"])))
    assert [(model.tags, model.aliases) for model in found] == [({"tag": "one"}, {"champion": 1}), ({"tag": "two"}, {"champion": 1})]
    assert len([statement for statement in statements if "LIMIT" in statement]) == 1


def log(store, run_id, metrics=(), params=(), tags=()):
    store.log_batch(run_id, list(metrics), list(params), list(tags))


LOSS = Metric("loss", 0.5, 1, 1)
PARTS = [{"metrics": [LOSS]}, {"params": [Param("alpha", "1")]}, {"tags": [RunTag("who", "me")]}, {}]


def test_a_batch_looks_at_its_run_once_with_one_connection(store):
    run_id = store.create_run("0", "someone", 1, [], "name").info.run_id
    statements, held = statements_of(store, lambda: log(store, run_id, metrics=[LOSS]))
    assert (len([statement for statement in statements if "FROM runs" in statement]), held) == (1, 1)
    assert store.get_run(run_id).data.metrics == {"loss": 0.5}


def test_all_parts_of_a_batch_are_written(store):
    run_id = store.create_run("0", "someone", 1, [], "name").info.run_id
    log(store, run_id, [LOSS], [Param("alpha", "1")], [RunTag("who", "me")])
    data = store.get_run(run_id).data
    assert (data.metrics, data.params, data.tags["who"]) == ({"loss": 0.5}, {"alpha": "1"}, "me")


@pytest.mark.parametrize("parts", PARTS)
def test_a_batch_for_a_run_that_is_missing_or_deleted_is_rejected(store, parts):
    with pytest.raises(MlflowException, match="not found"):
        log(store, "0" * 32, **parts)
    run_id = store.create_run("0", "someone", 1, [], "name").info.run_id
    store.delete_run(run_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        log(store, run_id, **parts)


def test_metrics_of_a_model_are_logged_with_the_experiment_of_the_run(store):
    experiment_id = store.create_experiment("models")
    run_id = store.create_run(experiment_id, "someone", 1, [], "name").info.run_id
    model_id = store.create_logged_model(experiment_id, source_run_id=run_id).model_id
    log(store, run_id, metrics=[Metric("loss", 0.5, 1, 1, model_id=model_id)])
    assert [metric.value for metric in store.get_logged_model(model_id).metrics] == [0.5]
