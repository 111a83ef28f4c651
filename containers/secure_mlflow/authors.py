"""Stores the caller as the author, whatever a client claims. This happens where rows are written, so it covers all paths of MLflow's API.

Reviews by judges and programs keep their names, and their metadata name the sender. Review queues keep their owners. Older rows keep what
clients have claimed.
"""

import json

from .access import caller

USER = "mlflow.user"  # MLflow's tag for the user of a run
LONGEST = 250  # characters of the shortest column for a name
PROGRAMS = {"CODE", "LLM_JUDGE"}  # sources of reviews with their own names


def author():
    """None without a caller, as in a job of the server."""
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
    """Sets the user for MLflow's own code: owners of review queues and of jobs, and who has completed a review."""
    from flask import g

    g.mlflow_authenticated_user = author()


def sign_rows():
    """By event, the functions that SQLAlchemy calls when a row is added to a session, and before its rows are written."""
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
                raise MlflowException("A review must keep its trace and the kind of its author", PERMISSION_DENIED)
            put_back(row, "source_id")
            if changed(row, "name", "value", "error", "rationale", "assessment_metadata", "overrides", "valid"):
                sign_review(row, name)

    def sign_added(session, row):
        """Runs before MLflow answers with the row."""
        name = author()
        if name is not None:
            sign_new(row, name)

    def sign(session, *_):
        name = author()
        if name is None:
            return
        new = list(session.new)
        made = {None, *(row.run_uuid for row in new if isinstance(row, models.SqlRun))}  # a tag that is created with its run has no run_uuid yet
        named = {row.model_id for row in new if isinstance(row, models.SqlLoggedModelTag) and names_user(row)}
        for row in new:
            if isinstance(row, models.SqlTag) and names_user(row) and row.run_uuid not in made:  # of an older run without an author
                session.expunge(row)
                continue
            sign_new(row, name)  # a merged row is filled after it was added
            if isinstance(row, models.SqlLoggedModel) and row.model_id not in named:
                row.tags.append(models.SqlLoggedModelTag(experiment_id=row.experiment_id, tag_key=USER, tag_value=name))
        for row in session.dirty:
            keep_author(row, name)
        if any(map(names_user, session.deleted)) and not any(type(row) in wholes for row in session.deleted):
            raise MlflowException(f"{USER} names the author and must stay", PERMISSION_DENIED)

    return {"transient_to_pending": sign_added, "before_flush": sign}


def sign_past_the_session(store):
    """Signs rows that MLflow writes without SQLAlchemy's session."""
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
            raise MlflowException(f"{USER} names the author and must stay", PERMISSION_DENIED)
        delete_tag(self, model_id, key)

    def update_assessment(self, trace_id, assessment_id, *changes, **more):
        """After a change by another person, that person is the author of a review."""
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
            return {**record, "tags": {**(tags or {}), USER: name}} if isinstance(tags, (dict, type(None))) else record  # MLflow reports errors in others

        return upsert(self, dataset_id, records if name is None or not isinstance(records, list) else [signed(record) for record in records])

    store.set_logged_model_tags = set_logged_model_tags
    store.delete_logged_model_tag = delete_logged_model_tag
    store.update_assessment = update_assessment
    store.upsert_dataset_records = upsert_dataset_records


def sign_own_traces(processor):
    """Signs traces of the server itself, such as calls of the AI gateway, when they begin, because one thread stores all of them later."""
    start = processor._start_trace

    def _start_trace(self, root_span):
        trace = start(self, root_span)
        name = author()
        if name is not None:
            trace.trace_metadata[USER] = trace.tags[USER] = name
        return trace

    processor._start_trace = _start_trace
