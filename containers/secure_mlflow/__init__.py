"""The inner door: runs in MLflow's server as its `mlflow.app`, in front of everything that MLflow serves.

`mlflow server --app-name secure-mlflow` finds it by the entry point that `prepare` writes beside it. It says who is calling, takes every trace of the
sign-in away from what MLflow and its outgoing calls see, and adds to answers what a browser must know. It is imported once before the server starts:
where this MLflow is not the one that it knows how to guard, the server ends with one line.
"""

import gc
import inspect
import os
import sys

from . import webhooks

gc.set_threshold(20_000, 50, 100)  # before the imports: they and SQLAlchemy make objects by the thousand, few of them in cycles


def fail(reason):
    print(f"secure-mlflow FAILED: {reason}", flush=True)
    sys.exit(1)


if "MLFLOW_CRYPTO_KEK_PASSPHRASE" in os.environ:  # not where `prepare` looks whether this MLflow is known
    try:
        webhooks.provide_key()  # before MLflow is imported
    except ValueError as error:
        fail(error)

import mlflow  # noqa: E402: the key has to be there before

from . import access, authors, door, egress, gateway, page  # noqa: E402: they import MLflow
from .compression import StaticFiles  # noqa: E402

SERIES = "3.17."  # of MLflow: the hooks and the routes below are looked at again with each
SIGNING = ("MultipartUploadMixin", "MultipartDownloadMixin", "PresignedUploadMixin")  # by which MLflow knows a store that signs URLs


def expect(function, *parameters):
    found = tuple(inspect.signature(function).parameters)
    if found != parameters:
        fail(f"MLflow {mlflow.__version__} cannot be guarded: {function.__qualname__} has the parameters {', '.join(found)}")


def check():
    """What the rest relies on, as far as it can be seen without a request."""
    if not mlflow.__version__.startswith(SERIES):
        fail(f"MLflow {mlflow.__version__} cannot be guarded, only {SERIES}x: use an `mlflowImage` of it, or the release of this library that is made for yours")
    from mlflow.gateway.providers.vertex_ai import VertexAIProvider
    from mlflow.server import app, gateway_api, handlers
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracing.processor.mlflow_v3 import MlflowV3SpanProcessor

    expect(gateway_api._decompress_zstd, "raw_body")
    expect(SqlAlchemyStore.create_experiment, "self", "name", "artifact_location", "tags")
    expect(SqlAlchemyStore.get_secret_info, "self", "secret_id", "secret_name")
    expect(SqlAlchemyStore.get_gateway_model_definition, "self", "model_definition_id", "name")
    expect(SqlAlchemyStore.update_gateway_secret, "self", "secret_id", "secret_value", "auth_config", "updated_by")
    expect(SqlAlchemyStore.create_gateway_model_definition, "self", "name", "secret_id", "provider", "model_name", "created_by")
    expect(SqlAlchemyStore.update_gateway_model_definition, "self", "model_definition_id", "name", "secret_id", "model_name", "updated_by", "provider")
    expect(SqlAlchemyStore.set_logged_model_tags, "self", "model_id", "tags")
    expect(SqlAlchemyStore.delete_logged_model_tag, "self", "model_id", "key")
    expect(SqlAlchemyStore.update_assessment, "self", "trace_id", "assessment_id", "name", "expectation", "feedback", "rationale", "metadata")
    expect(SqlAlchemyStore.update_mcp_server_version, "self", "name", "version", "status", "tools", "last_updated_by", "connect_options")
    expect(MlflowV3SpanProcessor._start_trace, "self", "root_span")
    expect(SqlAlchemyStore.upsert_dataset_records, "self", "dataset_id", "records")
    expect(VertexAIProvider._get_credentials, "self")
    unknown = [name for name in SIGNING if not isinstance(getattr(handlers, name, None), type)]
    if unknown:
        fail(f"MLflow {mlflow.__version__} cannot be guarded: it no longer knows by {', '.join(unknown)} which store signs URLs")
    try:
        authors.sign_rows()
    except AttributeError as error:
        fail(f"MLflow {mlflow.__version__} cannot be guarded: its tables are not as expected: {error}")
    try:
        page.index_of(app.static_folder)
    except (OSError, ValueError) as error:
        fail(f"MLflow {mlflow.__version__} cannot be guarded: its page is not as expected: {error}")


def keep_artifacts_in_the_bucket(store):
    """MLflow would let anybody name a folder of the server as the place of an experiment's artifacts: files would fill the disk, and be gone with the task."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.uri import is_local_uri

    create = store.create_experiment

    def create_experiment(self, name, artifact_location=None, tags=None):
        if artifact_location and is_local_uri(artifact_location):
            raise MlflowException.invalid_parameter_value("artifact_location must not be a folder of the server: leave it out to keep artifacts in the bucket")
        return create(self, name, artifact_location, tags)

    store.create_experiment = create_experiment


def sign_no_urls(handlers):
    """Has MLflow take the bucket for a store that cannot sign: it tells clients and its page so, and answers 501 to those that ask for a URL all the same."""
    for name in SIGNING:
        setattr(handlers, name, type(name, (), {}))


check()


def create_app():
    from mlflow.gateway.providers.vertex_ai import VertexAIProvider
    from mlflow.server import app, gateway_api, handlers
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    settings = door.Settings.read()
    os.environ["MLFLOW_GATEWAY_MAX_DECOMPRESSED_REQUEST_SIZE"] = str(settings.api_limit)  # the one body that MLflow unpacks with a limit: 100 MB by default
    egress.Egress.read().install()
    page.adopt(page.index_of(app.static_folder), settings.sign_out_url)
    keep_artifacts_in_the_bucket(SqlAlchemyStore)
    authors.install()
    access.keep_versions(SqlAlchemyStore)
    if os.environ["SECURE_MLFLOW_ARTIFACT_TRANSFER"] == "through-server":
        sign_no_urls(handlers)
    gateway.guard_keys(SqlAlchemyStore)
    gateway.guard_vertex(VertexAIProvider)
    gateway.guard_unpacking(gateway_api)
    from mlflow.server.fastapi_app import app as fastapi_app, build_environ  # after what it imports from has been changed

    fastapi_app.add_exception_handler(door.Refusal, gateway.answer_refusal)
    fastapi_app.add_exception_handler(egress.Refused, gateway.answer_refused)
    served = gateway.Gateway(by_the_shortest_way(fastapi_app, app, build_environ))
    gc.collect()
    gc.freeze()  # else each search for cycles would go through all of MLflow's modules
    return door.AsgiDoor(StaticFiles(served, os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"]), settings)


def by_the_shortest_way(fastapi_app, flask_app, build_environ):
    try:
        from . import answers, artifacts, database, shortcut  # what they import of MLflow is no promise

        unknown = shortcut.difference(fastapi_app, flask_app)
    except ImportError as error:
        unknown = error
    if unknown:
        print(f"secure-mlflow takes no short way to the handlers of MLflow {mlflow.__version__}, whose answers take longer: {unknown}", flush=True)
        return fastapi_app
    answers.install()
    database.install()
    artifacts.install()
    return shortcut.Shortcut(fastapi_app, flask_app, build_environ)
