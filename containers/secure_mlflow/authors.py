"""What is stored says who made it: the caller, whatever a client claims. It is done where rows are written, which every spelling of MLflow's API ends in.

Reviews by judges and programs keep their names and say in their metadata who has sent them; review queues keep their owners. What is older than this
keeps what clients have claimed.
"""

import json

from .access import caller

USER = "mlflow.user"  # the tag in which MLflow says whose a run is
LONGEST = 250  # characters, of the shortest column for a name
PROGRAMS = {"CODE", "LLM_JUDGE"}  # sources of reviews that have names of their own


def author():
    """None where nobody calls, as in a job of the server."""
    who = caller.get()
    return None if who is None else who.name[:LONGEST]


def install():
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    from mlflow.server import app
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracing.processor.mlflow_v3 import MlflowV3SpanProcessor

    for name, sign in sign_rows().items():
        event.listen(Session, name, sign)
    sign_past_the_session(SqlAlchemyStore)
    sign_own_traces(MlflowV3SpanProcessor)
    app.before_request(tell_mlflow)


def tell_mlflow():
    """MLflow's own way to know who asks: for owners of review queues and who has completed a review, and of jobs."""
    from flask import g

    g.mlflow_authenticated_user = author()


def sign_rows():
    """What SQLAlchemy calls when a row is added to a session, and before the rows of one are written; by the names of its events."""
    from sqlalchemy.orm.attributes import get_history

    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
    from mlflow.store.tracking.dbmodels import models

    tags = {
        models.SqlTag: ("key", "value"),
        models.SqlTraceMetadata: ("key", "value"),
        models.SqlTraceTag: ("key", "value"),
        models.SqlLoggedModelTag: ("tag_key", "tag_value"),
    }
    wholes = (models.SqlRun, models.SqlTraceInfo, models.SqlLoggedModel)
    columns = {mapper.class_: mapper.columns.keys() for mapper in Base.registry.mappers}
    authored = {kind: [name for name in ("created_by", "last_updated_by") if name in names] for kind, names in columns.items()}
    authored.update({models.SqlRun: ["user_id"], SqlModelVersion: ["user_id"], models.SqlReviewQueue: []})

    def names_user(row):
        return type(row) in tags and getattr(row, tags[type(row)][0]) == USER

    def sign_new(row, name):
        for column in authored.get(type(row), ()):
            setattr(row, column, name)
        if names_user(row):
            setattr(row, tags[type(row)][1], name)
        elif isinstance(row, models.SqlAssessments):
            sign_review(row, name)
        elif isinstance(row, models.SqlRun) and not any(map(names_user, row.tags)):
            row.tags.append(models.SqlTag(key=USER, value=name))
        elif isinstance(row, models.SqlTraceInfo):
            if not any(map(names_user, row.request_metadata)):
                row.request_metadata.append(models.SqlTraceMetadata(key=USER, value=name))
            if not any(map(names_user, row.tags)):  # MLflow's page shows this one
                row.tags.append(models.SqlTraceTag(key=USER, value=name))

    def sign_review(row, name):
        if row.source_type not in PROGRAMS:
            row.source_id = name
        else:
            row.assessment_metadata = json.dumps({**json.loads(row.assessment_metadata or "{}"), USER: name})

    def changed(row, *columns):
        return any(get_history(row, column).deleted for column in columns)

    def put_back(row, column):
        for before in get_history(row, column).deleted or ():
            setattr(row, column, before)

    def keep_author(row, name):
        if "last_updated_by" in authored.get(type(row), ()):
            row.last_updated_by = name
        if names_user(row):
            put_back(row, tags[type(row)][1])
        elif isinstance(row, models.SqlAssessments):
            if changed(row, "trace_id", "source_type"):
                raise MlflowException("A review stays with its trace, and with the kind of its author", PERMISSION_DENIED)
            put_back(row, "source_id")
            if changed(row, "name", "value", "error", "rationale", "assessment_metadata", "overrides", "valid"):
                sign_review(row, name)

    def sign_added(session, row):
        """Before MLflow answers with it."""
        name = author()
        if name is not None:
            sign_new(row, name)

    def sign(session, *_):
        name = author()
        if name is None:
            return
        new = list(session.new)
        made = {None, *(row.run_uuid for row in new if isinstance(row, models.SqlRun))}  # a tag that comes with its run does not know it yet
        named = {row.model_id for row in new if isinstance(row, models.SqlLoggedModelTag) and names_user(row)}
        for row in new:
            if isinstance(row, models.SqlTag) and names_user(row) and row.run_uuid not in made:  # of a run that is older than this, and names nobody
                session.expunge(row)
                continue
            sign_new(row, name)  # what is merged is filled after it was added
            if isinstance(row, models.SqlLoggedModel) and row.model_id not in named:
                row.tags.append(models.SqlLoggedModelTag(experiment_id=row.experiment_id, tag_key=USER, tag_value=name))
        for row in session.dirty:
            keep_author(row, name)
        if any(map(names_user, session.deleted)) and not any(type(row) in wholes for row in session.deleted):
            raise MlflowException(f"{USER} says who made this, and stays", PERMISSION_DENIED)

    return {"transient_to_pending": sign_added, "before_flush": sign}


def sign_past_the_session(store):
    """The same where MLflow writes rows without SQLAlchemy's session."""
    from mlflow.entities import AssessmentSource
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
    from mlflow.store.tracking.dbmodels.models import SqlAssessments

    set_tags, delete_tag = store.set_logged_model_tags, store.delete_logged_model_tag
    update, upsert = store.update_assessment, store.upsert_dataset_records

    def set_logged_model_tags(self, model_id, tags):
        set_tags(self, model_id, tags if author() is None else [tag for tag in tags if tag.key != USER])

    def delete_logged_model_tag(self, model_id, key):
        if key == USER and author() is not None:
            raise MlflowException(f"{USER} says who made this, and stays", PERMISSION_DENIED)
        delete_tag(self, model_id, key)

    def update_assessment(self, trace_id, assessment_id, *changes, **more):
        """A review that somebody else changes is no longer what its author has written."""
        name = author()
        if name is None:
            return update(self, trace_id, assessment_id, *changes, **more)
        if self.get_assessment(trace_id, assessment_id).source.source_type in PROGRAMS:
            return update(self, trace_id, assessment_id, *changes, **{**more, "metadata": {**(more.get("metadata") or {}), USER: name}})
        review = update(self, trace_id, assessment_id, *changes, **more)
        if review.source.source_id != name:
            with self.ManagedSessionMaker(read_only=False) as session:
                session.query(SqlAssessments).filter_by(trace_id=trace_id, assessment_id=assessment_id).update({"source_id": name})
            review.source = AssessmentSource(review.source.source_type, name)
        return review

    def upsert_dataset_records(self, dataset_id, records):
        name = author()

        def signed(record):
            tags = record.get("tags") if isinstance(record, dict) else ""
            return {**record, "tags": {**(tags or {}), USER: name}} if isinstance(tags, (dict, type(None))) else record  # MLflow says what is wrong with others

        return upsert(self, dataset_id, records if name is None or not isinstance(records, list) else [signed(record) for record in records])

    store.set_logged_model_tags = set_logged_model_tags
    store.delete_logged_model_tag = delete_logged_model_tag
    store.update_assessment = update_assessment
    store.upsert_dataset_records = upsert_dataset_records


def sign_own_traces(processor):
    """Traces that the server makes itself, as of a call of the AI gateway, are stored later by a thread for all of them: they are signed when they begin."""
    start = processor._start_trace

    def _start_trace(self, root_span):
        trace = start(self, root_span)
        name = author()
        if name is not None:
            trace.trace_metadata[USER] = trace.tags[USER] = name
        return trace

    processor._start_trace = _start_trace
