"""Saves round trips to the database with settings that MLflow does not offer."""

import functools
import select

import sqlalchemy
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


def install():
    """Applies to all engines that MLflow creates from now on."""
    ask_for_no_inputs_of_new_runs()
    sqlalchemy.dialects.plugins.register(NAME, __name__, Plugin.__name__)
    sqlalchemy.create_engine = functools.partial(sqlalchemy.create_engine, plugins=[NAME])
