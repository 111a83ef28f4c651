"""That the inner door knows the MLflow in front of which it stands."""

import mlflow
import pytest

import secure_mlflow
from mlflow.exceptions import MlflowException


def test_the_pinned_mlflow_is_known():
    secure_mlflow.check()


@pytest.mark.parametrize("version", ["3.16.9", "3.18.0", "3.170.0", "4.0.0"])
def test_another_one_ends_the_server_with_one_line(version, monkeypatch, capsys):
    monkeypatch.setattr(mlflow, "__version__", version)
    with pytest.raises(SystemExit) as end:
        secure_mlflow.check()
    assert end.value.code == 1
    assert capsys.readouterr().out == (
        f"secure-mlflow FAILED: MLflow {version} cannot be guarded, only 3.17.x: use an `mlflowImage` of it, or the release of this library that is made for yours\n")


def test_so_does_a_function_that_has_changed(capsys):
    def changed(self, name, place):
        pass

    with pytest.raises(SystemExit):
        secure_mlflow.expect(changed, "self", "name", "artifact_location")
    assert "has the parameters self, name, place" in capsys.readouterr().out


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
