"""Rows that say who made them, in MLflow's own store."""

from contextlib import contextmanager
from uuid import uuid4

import pytest
import sqlalchemy

from mlflow.entities import AssessmentSource, Feedback, IssueStatus, LoggedModelTag, RunTag, TraceInfo, TraceLocation, TraceState
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from secure_mlflow import authors
from secure_mlflow.access import Caller, Level, caller

CLAIMED = "boss@example.com"


class Store(SqlAlchemyStore):
    """One whose own methods are changed."""


authors.sign_past_the_session(Store)


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def store(uri, tmp_path_factory):
    listeners = authors.sign_rows()
    for name, listener in listeners.items():
        sqlalchemy.event.listen(sqlalchemy.orm.Session, name, listener)
    yield Store(uri, str(tmp_path_factory.mktemp('artifacts')))
    for name, listener in listeners.items():
        sqlalchemy.event.remove(sqlalchemy.orm.Session, name, listener)


@contextmanager
def as_(name):
    token = caller.set(Caller(name, Level.EDITOR))
    try:
        yield
    finally:
        caller.reset(token)


@pytest.fixture
def run(store):
    with as_("ada@example.com"):
        run = store.create_run("0", CLAIMED, 0, [RunTag("mlflow.user", CLAIMED), RunTag("x", "y")], None)
    assert (run.info.user_id, run.data.tags["mlflow.user"]) == ("ada@example.com",) * 2  # the answer, too
    return run.info.run_id


def user_of(store, run):
    run = store.get_run(run)
    return run.info.user_id, run.data.tags["mlflow.user"]


class TestRuns:
    def test_say_who_made_them_whatever_a_client_claims(self, store, run):
        assert user_of(store, run) == ("ada@example.com",) * 2

    def test_say_so_where_a_client_says_nothing(self, store):
        with as_("ada@example.com"):
            run = store.create_run("0", "", 0, [], None).info.run_id
        assert user_of(store, run) == ("ada@example.com",) * 2

    @pytest.mark.parametrize("change", [
        lambda store, run: store.set_tag(run, RunTag("mlflow.user", CLAIMED)),
        lambda store, run: store.log_batch(run, [], [], [RunTag("mlflow.user", CLAIMED)]),
        lambda store, run: store.log_batch(run, [], [], [RunTag("mlflow.user", "other"), RunTag("mlflow.user", CLAIMED)]),
    ], ids=["set-tag", "log-batch", "log-batch, twice"])
    @pytest.mark.parametrize("name", ["ada@example.com", "grace@example.com"])
    def test_go_on_saying_so(self, store, run, change, name):
        with as_(name):
            change(store, run)
        assert user_of(store, run) == ("ada@example.com",) * 2

    def test_that_name_nobody_keep_it_so(self, store):
        old = store.create_run("0", "root", 0, [], None).info.run_id
        with as_("grace@example.com"):
            store.set_tag(old, RunTag("mlflow.user", CLAIMED))
            store.log_batch(old, [], [], [RunTag("mlflow.user", CLAIMED), RunTag("x", "y")])
        assert (store.get_run(old).info.user_id, store.get_run(old).data.tags.get("mlflow.user"), store.get_run(old).data.tags["x"]) == ("root", None, "y")

    def test_other_tags_change(self, store, run):
        with as_("grace@example.com"):
            store.set_tag(run, RunTag("x", "z"))
            store.delete_tag(run, "x")
        assert "x" not in store.get_run(run).data.tags

    def test_keep_the_tag(self, store, run):
        with as_("ada@example.com"), pytest.raises(MlflowException, match="must stay") as caught:
            store.delete_tag(run, "mlflow.user")
        assert caught.value.error_code == "PERMISSION_DENIED"
        assert user_of(store, run) == ("ada@example.com",) * 2

    def test_a_name_longer_than_a_column_is_cut(self, store):
        with as_("arn:aws:iam::123456789012:role/" + "x" * 500):
            run = store.create_run("0", "", 0, [], None).info.run_id
        assert len(user_of(store, run)[0]) == authors.LONGEST

    def test_of_the_server_itself_keep_what_they_are_given(self, store):
        run = store.create_run("0", CLAIMED, 0, [RunTag("mlflow.user", CLAIMED)], None).info.run_id
        store.set_tag(run, RunTag("mlflow.user", "x"))
        assert user_of(store, run) == (CLAIMED, "x")
        store.delete_tag(run, "mlflow.user")


def trace(metadata, trace_id, assessments=()):
    location = TraceLocation.from_experiment_id("0")
    return TraceInfo(trace_id=trace_id, trace_location=location, request_time=0, state=TraceState.OK, trace_metadata=metadata, assessments=list(assessments))


def user_of_trace(store, trace_id):
    """As the API and as the page have it."""
    info = store.get_trace_info(trace_id)
    return info.trace_metadata["mlflow.user"], info.tags["mlflow.user"]


class TestTraces:
    @pytest.mark.parametrize("metadata", [{}, {"mlflow.user": CLAIMED, "a": "b"}])
    def test_say_who_made_them(self, store, metadata):
        trace_id = f"tr-{len(metadata)}"
        with as_("ada@example.com"):
            store.start_trace(trace(metadata, trace_id))
        with as_("grace@example.com"):
            store.start_trace(trace({"mlflow.user": CLAIMED}, trace_id))  # the same again
        assert user_of_trace(store, trace_id) == ("ada@example.com",) * 2

    def test_go_on_saying_so(self, store):
        with as_("ada@example.com"):
            store.start_trace(trace({}, "tr-kept"))
        with as_("grace@example.com"):
            store.set_trace_tag("tr-kept", "mlflow.user", CLAIMED)
        assert user_of_trace(store, "tr-kept") == ("ada@example.com",) * 2

    def test_say_so_where_the_server_makes_them(self):
        class Processor:
            def _start_trace(self, root_span):
                return trace({"mlflow.user": "root"}, root_span)

        authors.sign_own_traces(Processor)
        with as_("ada@example.com"):
            begun = Processor()._start_trace("tr-own")
        assert (begun.trace_id, begun.trace_metadata["mlflow.user"], begun.tags["mlflow.user"]) == ("tr-own", "ada@example.com", "ada@example.com")
        assert Processor()._start_trace("tr-own").trace_metadata["mlflow.user"] == "root"


def feedback(trace_id, source_type="HUMAN", value=True):
    return Feedback(trace_id=trace_id, name="good", value=value, source=AssessmentSource(source_type, CLAIMED))


class TestReviews:
    @pytest.fixture
    def traced(self, store):
        """The id of a trace that came with a review."""
        trace_id = f"tr-{uuid4().hex}"
        with as_("ada@example.com"):
            store.start_trace(trace({}, trace_id, [feedback(trace_id)]))
        return trace_id

    def test_of_people_say_who_wrote_them(self, store, traced):
        assert [review.source.source_id for review in store.get_trace_info(traced).assessments] == ["ada@example.com"]
        with as_("grace@example.com"):
            created = store.create_assessment(feedback(traced))
        assert created.source.source_id == store.get_assessment(traced, created.assessment_id).source.source_id == "grace@example.com"

    def test_say_who_changed_them(self, store, traced):
        (review,) = store.get_trace_info(traced).assessments
        with as_("grace@example.com"):
            changed = store.update_assessment(traced, review.assessment_id, rationale="no")
        assert changed.source.source_id == store.get_assessment(traced, review.assessment_id).source.source_id == "grace@example.com"

    @pytest.mark.parametrize("source_type", ["LLM_JUDGE", "CODE"])
    def test_of_programs_keep_their_names_and_say_who_sent_them(self, store, traced, source_type):
        with as_("grace@example.com"):
            review = store.create_assessment(feedback(traced, source_type))
        assert (review.source.source_id, review.metadata["mlflow.user"]) == (CLAIMED, "grace@example.com")
        with as_("ada@example.com"):
            changed = store.update_assessment(traced, review.assessment_id, rationale="no", metadata={"mlflow.user": CLAIMED, "a": "b"})
        assert (changed.source.source_id, changed.metadata) == (CLAIMED, {"mlflow.user": "ada@example.com", "a": "b"})

    def test_that_come_again_with_their_trace_say_who_changed_them(self, store, traced):
        (review,) = store.get_trace_info(traced).assessments

        def send_again(value, trace_id=traced, source_type="HUMAN"):
            again = feedback(trace_id, source_type, value)
            again.assessment_id = review.assessment_id
            with as_("grace@example.com"):
                store.start_trace(trace({}, trace_id, [again]))
            return store.get_assessment(trace_id, review.assessment_id)

        assert send_again(True).source.source_id == "ada@example.com"  # as it was
        with as_("grace@example.com"):
            store.start_trace(trace({}, f"{traced}-x"))
        for moved in ({"trace_id": f"{traced}-x"}, {"source_type": "CODE"}):
            with pytest.raises(MlflowException, match="must keep its trace"):
                send_again(False, **moved)
        assert send_again(False).source.source_id == "grace@example.com"


class TestModels:
    def test_versions_say_who_made_them(self, store, uri):
        with as_("ada@example.com"):
            Registry(uri).create_registered_model("m")
            version = Registry(uri).create_model_version("m", "s3://bucket/m")
        assert version.user_id == "ada@example.com"

    @pytest.mark.parametrize("tags", [None, [LoggedModelTag("mlflow.user", CLAIMED)]])
    def test_logged_ones_say_so_and_go_on(self, store, tags):
        with as_("ada@example.com"):
            model = store.create_logged_model("0", tags=tags).model_id
            store.set_logged_model_tags(model, [LoggedModelTag("mlflow.user", CLAIMED), LoggedModelTag("x", "y")])
            with pytest.raises(MlflowException, match="must stay"):
                store.delete_logged_model_tag(model, "mlflow.user")
            assert store.get_logged_model(model).tags == {"mlflow.user": "ada@example.com", "x": "y"}
            store.delete_logged_model_tag(model, "x")


class TestEverythingElse:
    @pytest.mark.parametrize("records", ["x", [1], [{"inputs": {}, "tags": "x"}]])
    def test_that_is_wrong_is_left_to_mlflow(self, records):
        class Plain:
            set_logged_model_tags = delete_logged_model_tag = update_assessment = None

            def upsert_dataset_records(self, dataset_id, records):
                return records

        authors.sign_past_the_session(Plain)
        with as_("ada@example.com"):
            assert Plain().upsert_dataset_records("d", records) == records

    def test_with_a_column_for_it_says_who_made_and_who_changed_it(self, store):
        with as_("ada@example.com"):
            dataset = store.create_dataset("d", tags={"mlflow.user": CLAIMED}, experiment_ids=["0"])
            issue = store.create_issue(experiment_id="0", name="i", description="d", status=IssueStatus.PENDING, created_by=CLAIMED)
        assert (dataset.created_by, dataset.last_updated_by, issue.created_by) == ("ada@example.com",) * 3
        with as_("grace@example.com"):
            store.upsert_dataset_records(dataset.dataset_id, [{"inputs": {"a": 1}, "tags": {"mlflow.user": CLAIMED}}, {"inputs": {"a": 2}}])
        changed = store.get_dataset(dataset.dataset_id)
        assert (changed.created_by, changed.last_updated_by) == ("ada@example.com", "grace@example.com")
        records, _ = store._load_dataset_records(dataset.dataset_id)
        assert [record.created_by for record in records] == ["grace@example.com"] * 2

    def test_but_the_owner_of_a_review_queue_which_mlflow_is_told(self, store):
        from flask import Flask, g

        with as_("ada@example.com"), Flask("x").app_context():
            authors.tell_mlflow()
            assert g.mlflow_authenticated_user == "ada@example.com"
            assert store.get_or_create_user_queue("0", user="grace@example.com").created_by == "grace@example.com"
