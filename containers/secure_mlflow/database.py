"""Saves round trips to the database with settings that MLflow does not offer."""

import contextlib
import functools
import select
import types

import sqlalchemy
import sqlalchemy.orm
from mlflow.store.tracking.dbmodels.models import SqlRun
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.engine import CreateEnginePlugin

NAME = "secure-mlflow"


class Plugin(CreateEnginePlugin):
    def update_url(self, url):
        return url

    def handle_dialect_kwargs(self, dialect_cls, dialect_args):
        if dialect_cls.driver == "psycopg2":
            dialect_args["executemany_mode"] = "values_plus_batch"  # otherwise each changed row is a round trip, 20 for a batch of 20 metrics

    def engine_created(self, engine):
        dialect = engine.dialect
        if dialect.driver != "psycopg2":
            return
        ask = dialect.do_ping

        def do_ping(connection):
            # MLflow tests the connection before each transaction. Between transactions the database sends data only if it ends the connection.
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            return bool(not poll.poll(0) or ask(connection))

        dialect.do_ping = do_ping


def ask_for_no_inputs_of_new_runs():
    ask = SqlAlchemyStore._get_run_inputs

    @functools.wraps(ask)
    def _get_run_inputs(self, session, run_uuids):
        unwritten = {row.run_uuid for row in session.new if isinstance(row, SqlRun)}
        if not unwritten.issuperset(run_uuids):
            return ask(self, session, run_uuids)
        session._autoflush()  # as the query would, with the same error if the database refuses the run
        return [[] for _ in run_uuids]

    SqlAlchemyStore._get_run_inputs = _get_run_inputs


class PartsOfBatch:
    """The store for `log_batch`, which holds a session around its parts. Each part opens its own session and checks the run there.

    `_log_metrics` does so without metrics, too.
    """

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    @contextlib.contextmanager
    def ManagedSessionMaker(self, read_only=True):
        yield None

    def _get_run(self, run_uuid, session):
        return types.SimpleNamespace(experiment_id=None)

    def _check_run_is_active(self, run):
        pass


def log_batches_with_one_connection():
    log = SqlAlchemyStore.log_batch

    @functools.wraps(log)
    def log_batch(self, run_id, metrics, params, tags):
        needs_experiment = any(metric.model_id is not None for metric in metrics)
        return log(self if needs_experiment else PartsOfBatch(self), run_id, metrics, params, tags)

    SqlAlchemyStore.log_batch = log_batch


def install():
    """Applies to all engines that MLflow creates from now on."""
    ask_for_no_inputs_of_new_runs()
    log_batches_with_one_connection()
    sqlalchemy.orm.subqueryload = sqlalchemy.orm.selectinload  # for tags and aliases; SQLAlchemy builds a subquery load anew each time
    sqlalchemy.dialects.plugins.register(NAME, __name__, Plugin.__name__)
    sqlalchemy.create_engine = functools.partial(sqlalchemy.create_engine, plugins=[NAME])
