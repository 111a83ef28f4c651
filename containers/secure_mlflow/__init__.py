"""The inner door: runs in MLflow's server as its `mlflow.app`, in front of everything that MLflow serves.

`mlflow server --app-name secure-mlflow` finds it by the entry point that `prepare` writes. It tells MLflow who is calling, hides all data of the sign-in
from MLflow and its outgoing calls, and adds security headers to answers. It is imported once before the server starts: if it cannot guard this MLflow,
the server ends with one line.
"""

import gc
import inspect
import os
import sys

from . import webhooks

gc.set_threshold(20_000, 50, 100)  # before the imports: they and SQLAlchemy make thousands of objects, few of them in cycles


def fail(reason):
    print(f"secure-mlflow FAILED: {reason}", flush=True)
    sys.exit(1)


if "MLFLOW_CRYPTO_KEK_PASSPHRASE" in os.environ:  # not set while `prepare` checks whether this MLflow is known
    try:
        webhooks.provide_key()  # before MLflow is imported
    except ValueError as error:
        fail(error)

import mlflow  # noqa: E402: the key must be set before

from . import access, authors, door, egress, gateway, page  # noqa: E402: they import MLflow
from .compression import StaticFiles  # noqa: E402

SERIES = "3.17."  # of MLflow; the hooks and routes below are reviewed for each series
SIGNING = ("MultipartUploadMixin", "MultipartDownloadMixin", "PresignedUploadMixin")  # mark stores that sign URLs


def expect(function, *parameters):
    found = tuple(inspect.signature(function).parameters)
    if found != parameters:
        fail(f"MLflow {mlflow.__version__} cannot be guarded: {function.__qualname__} has the parameters {', '.join(found)}")


def check():
    """Checks what the rest relies on, as far as possible without a request."""
    if not mlflow.__version__.startswith(SERIES):
        fail(f"MLflow {mlflow.__version__} cannot be guarded, only {SERIES}x: use an `mlflowImage` of this series, or the release of this library for your version")
    from mlflow.gateway.providers.vertex_ai import VertexAIProvider
    from mlflow.server import app, gateway_api, handlers
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracing.processor.mlflow_v3 import MlflowV3SpanProcessor

    expect(gateway_api._decompress_zstd, "raw_body")
    expect(SqlAlchemyStore.create_experiment, "self", "name", "artifact_location", "tags")
    expect(SqlAlchemyStore.log_batch, "self", "run_id", "metrics", "params", "tags")
    expect(SqlAlchemyStore._log_metrics, "self", "run_id", "metrics")
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
        fail(f"MLflow {mlflow.__version__} cannot be guarded: it has no {', '.join(unknown)}, which marks stores that sign URLs")
    try:
        authors.sign_rows()
    except AttributeError as error:
        fail(f"MLflow {mlflow.__version__} cannot be guarded: its tables are not as expected: {error}")
    try:
        page.index_of(app.static_folder)
    except (OSError, ValueError) as error:
        fail(f"MLflow {mlflow.__version__} cannot be guarded: its page is not as expected: {error}")


def keep_artifacts_in_the_bucket(store):
    """MLflow accepts a folder of the server as the artifact location of an experiment: files would fill the disk and be lost with the task."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.uri import is_local_uri

    create = store.create_experiment

    def create_experiment(self, name, artifact_location=None, tags=None):
        if artifact_location and is_local_uri(artifact_location):
            raise MlflowException.invalid_parameter_value("artifact_location must not be a folder of the server: leave it out to keep artifacts in the bucket")
        return create(self, name, artifact_location, tags)

    store.create_experiment = create_experiment


def sign_no_urls(handlers):
    """Makes MLflow treat the bucket as a store that cannot sign: it tells clients and its page so, and answers requests for a URL with 501."""
    for name in SIGNING:
        setattr(handlers, name, type(name, (), {}))


check()


def create_app():
    from mlflow.gateway.providers.vertex_ai import VertexAIProvider
    from mlflow.server import app, gateway_api, handlers
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    settings = door.Settings.read()
    os.environ["MLFLOW_GATEWAY_MAX_DECOMPRESSED_REQUEST_SIZE"] = str(settings.api_limit)  # the only body that MLflow unpacks with a limit, 100 MB by default
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
    from mlflow.server.fastapi_app import app as fastapi_app, build_environ  # after the modules from which it imports were changed

    fastapi_app.add_exception_handler(door.Refusal, gateway.answer_refusal)
    fastapi_app.add_exception_handler(egress.Refused, gateway.answer_refused)
    served = gateway.Gateway(by_the_shortest_way(fastapi_app, app, build_environ))
    gc.collect()
    gc.freeze()  # otherwise each search for cycles would visit all of MLflow's modules
    return door.AsgiDoor(StaticFiles(served, os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"]), settings)


def by_the_shortest_way(fastapi_app, flask_app, build_environ):
    try:
        from . import answers, artifacts, database, shortcut  # they import internals of MLflow

        unknown = shortcut.difference(fastapi_app, flask_app)
    except ImportError as error:
        unknown = error
    if unknown:
        print(f"secure-mlflow does not use the short way to the handlers of MLflow {mlflow.__version__}, so answers take longer: {unknown}", flush=True)
        return fastapi_app
    answers.install()
    database.install()
    artifacts.install()
    return shortcut.Shortcut(fastapi_app, flask_app, build_environ)
