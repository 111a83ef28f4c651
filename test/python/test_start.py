"""That the inner door knows the MLflow in front of which it stands."""

import mlflow
import pytest

import secure_mlflow
from mlflow.exceptions import MlflowException
from mlflow.server import app, handlers
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository


def test_the_pinned_mlflow_is_known():
    secure_mlflow.check()


@pytest.mark.parametrize("version", ["3.16.9", "3.18.0", "3.170.0", "4.0.0"])
def test_another_one_ends_the_server_with_one_line(version, monkeypatch, capsys):
    monkeypatch.setattr(mlflow, "__version__", version)
    with pytest.raises(SystemExit) as end:
        secure_mlflow.check()
    assert end.value.code == 1
    assert capsys.readouterr().out == (
        f"secure-mlflow FAILED: MLflow {version} cannot be guarded, only 3.17.x: use an `mlflowImage` of this series, or the release of this library for your version\n")


def test_so_does_a_function_that_has_changed(capsys):
    def changed(self, name, place):
        pass

    with pytest.raises(SystemExit):
        secure_mlflow.expect(changed, "self", "name", "artifact_location")
    assert "has the parameters self, name, place" in capsys.readouterr().out


def test_so_does_one_that_knows_by_other_names_which_store_signs_urls(monkeypatch, capsys):
    monkeypatch.delattr(handlers, "MultipartDownloadMixin")
    with pytest.raises(SystemExit):
        secure_mlflow.check()
    assert "it has no MultipartDownloadMixin, which marks stores that sign URLs" in capsys.readouterr().out


class Store:
    def create_experiment(self, name, artifact_location=None, tags=None):
        return artifact_location


secure_mlflow.keep_artifacts_in_the_bucket(Store)


@pytest.mark.parametrize("location", ["/tmp/x", "/dev/shm", "x", "./x", "../x", "file:/tmp/x", "file:///tmp/x", "file://localhost/tmp/x"])
def test_no_experiment_keeps_its_artifacts_on_the_server(location):
    with pytest.raises(MlflowException, match="must not be a folder of the server"):
        Store().create_experiment("name", location)


@pytest.mark.parametrize("location", [None, "", "mlflow-artifacts:/1", "s3://bucket/folder"])
def test_other_places_are_left_to_mlflow(location):
    assert Store().create_experiment("name", location) == location


@pytest.fixture
def serving_from_s3(monkeypatch):
    for name in secure_mlflow.SIGNING:
        monkeypatch.setattr(handlers, name, getattr(handlers, name))  # put back afterwards
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    monkeypatch.setattr(handlers, "_get_artifact_repo_mlflow_artifacts", lambda: S3ArtifactRepository("s3://bucket/mlflow"))
    monkeypatch.setattr(handlers, "_get_tracking_store", lambda: None)


def multipart():
    info = handlers.build_server_info_payload()
    return [info[f"multipart_{way}_enabled"] for way in ("uploads", "downloads")]


def test_mlflow_is_told_that_the_bucket_signs_no_urls(serving_from_s3):
    assert multipart() == [True, True]
    secure_mlflow.sign_no_urls(handlers)
    assert multipart() == [False, False]


@pytest.mark.parametrize("api", ["/api", "/ajax-api"])
@pytest.mark.parametrize("method, path, message", [
    ("GET", "presigned/x", "Multipart download is not supported"),
    ("POST", "mpu/create/x", "Multipart upload is not supported for the current artifact repository"),  # MLflow's client looks for these words
])
def test_and_answers_501_where_it_is_asked_for_one(serving_from_s3, api, method, path, message):
    secure_mlflow.sign_no_urls(handlers)
    answer = app.test_client().open(f"{api}/2.0/mlflow-artifacts/{path}", method=method, json={"path": "x", "num_parts": 1}, headers={"Host": "localhost"})
    assert answer.status_code == 501
    assert message in answer.json["message"]


@pytest.mark.parametrize("validate", ["_validate_support_presigned_upload", "_validate_support_presigned_download"])
def test_nor_for_runs_that_lie_in_s3_by_their_address(serving_from_s3, validate):
    secure_mlflow.sign_no_urls(handlers)
    with pytest.raises(MlflowException, match="not supported"):
        getattr(handlers, validate)(S3ArtifactRepository("s3://bucket/mlflow"))
