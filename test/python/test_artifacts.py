"""How artifacts pass between a client and S3."""

import asyncio
import io

import pytest
from botocore.exceptions import ClientError, FlexibleChecksumError, IncompleteReadError, ReadTimeoutError
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from secure_mlflow import artifacts

FULL = artifacts.SMALL


class S3:
    """Keeps objects, and what was asked."""

    def __init__(self, objects=None):
        self.objects, self.calls = objects or {}, []

    def put_object(self, Bucket, Key, Body, **extra):
        self.calls.append(("put", Bucket, Key, extra))
        self.objects[Key] = Body

    def upload_file(self, Filename, Bucket, Key, ExtraArgs):
        self.calls.append(("upload", Bucket, Key, ExtraArgs))
        with open(Filename, "rb") as file:
            self.objects[Key] = file.read()

    def get_object(self, Bucket, Key):
        self.calls.append(("get", Key))
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key]), "ContentLength": len(self.objects[Key])}

    def download_file(self, bucket, key, path):
        self.calls.append(("download", key))
        with open(path, "wb") as file:
            file.write(self.objects[key])


@pytest.fixture
def s3():
    return S3()


@pytest.fixture
def repository(s3, monkeypatch):
    monkeypatch.setattr(artifacts.Repository, "_get_s3_client", lambda self: s3)
    return artifacts.Repository("s3://bucket/root")


async def chunks(*sizes):
    for size in sizes:
        yield b"x" * size


def upload(repository, stream, name="model.json", folder="a/b"):
    asyncio.run(repository.log_artifact_from_async_stream(stream, name, folder))


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (FULL - 1,), (FULL // 2, FULL // 2 - 1)])
def test_a_small_upload_is_one_call(repository, s3, sizes):
    upload(repository, chunks(*sizes))
    assert s3.calls == [("put", "bucket", "root/a/b/model.json", {"ContentType": "application/json"})]
    assert len(s3.objects["root/a/b/model.json"]) == sum(sizes)


@pytest.mark.parametrize("sizes", [(FULL,), (FULL // 2, FULL), (1, FULL, FULL, 3)])
def test_a_long_one_goes_by_way_of_a_file(repository, s3, sizes, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    upload(repository, chunks(*sizes))
    assert s3.calls == [("upload", "bucket", "root/a/b/model.json", {"ContentType": "application/json"})]
    assert len(s3.objects["root/a/b/model.json"]) == sum(sizes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name, extra", [("x", {}), ("x.csv.gz", {"ContentType": "text/csv", "ContentEncoding": "gzip"})])
def test_content_is_named_as_by_mlflow(repository, s3, name, extra, monkeypatch):
    upload(repository, chunks(1), name, None)
    assert s3.calls == [("put", "bucket", f"root/{name}", extra)]
    monkeypatch.setenv("MLFLOW_S3_UPLOAD_EXTRA_ARGS", '{"ServerSideEncryption": "aws:kms"}')
    upload(repository, chunks(1), name, None)
    assert s3.calls[1][3] == {**extra, "ServerSideEncryption": "aws:kms"}


@pytest.mark.parametrize("before", [(1,), (FULL, FULL)])
def test_nothing_is_stored_of_an_upload_whose_client_leaves(repository, s3, before, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def broken():
        async for chunk in chunks(*before):
            yield chunk
        raise ConnectionError

    with pytest.raises(ConnectionError):
        upload(repository, broken())
    assert (s3.calls, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("size, calls", [(0, ["get"]), (FULL, ["get"]), (FULL + 1, ["get", "download"])])
def test_a_download_asks_neither_for_folder_nor_size(repository, s3, size, calls, tmp_path):
    s3.objects["root/a/b.bin"] = b"x" * size
    path = repository.download_artifacts("a/b.bin", str(tmp_path))
    assert path == str(tmp_path / "a" / "b.bin")
    assert (tmp_path / "a" / "b.bin").stat().st_size == size
    assert [call for call, *_ in s3.calls] == calls


class Body(io.BytesIO):
    """As botocore's: what `with` gives is below the checks."""

    def __init__(self, content, failure):
        super().__init__(content)
        self.content, self.failure = content, failure

    def __enter__(self):
        return io.BytesIO(self.content)

    def read(self, *args):
        raise self.failure


@pytest.mark.parametrize("failure, again", [(ReadTimeoutError(endpoint_url="s3"), True), (IncompleteReadError(actual_bytes=1, expected_bytes=2), True), (FlexibleChecksumError(error_msg="x"), False)])
def test_a_download_that_breaks_off_is_tried_again_and_a_wrong_checksum_is_told(failure, again, repository, s3, tmp_path):
    s3.objects["root/a"] = b"ab"
    s3.get_object = lambda **_: {"Body": Body(b"ax", failure), "ContentLength": 2}
    if again:
        assert open(repository.download_artifacts("a", str(tmp_path)), "rb").read() == b"ab"
    else:
        with pytest.raises(FlexibleChecksumError):
            repository.download_artifacts("a", str(tmp_path))
        assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("path, folder", [("a", True), ("", True), (None, True), ("a.bin", False)])
def test_folders_and_what_is_not_there_are_left_to_mlflow(repository, s3, path, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(S3ArtifactRepository, "download_artifacts", lambda self, *args: args)
    s3.objects["root/a.bin"] = b""
    target = str(tmp_path) if folder else None
    assert repository.download_artifacts(path, target) == (path, target)


@pytest.mark.parametrize("leaves", ["at once", "on the way", None])
def test_the_file_of_a_download_goes_with_its_client(leaves):
    ended = []

    def blocks():
        try:
            yield b"x"
            yield b"y"
        finally:
            ended.append(True)

    async def receive():
        await asyncio.sleep({"at once": 0, "on the way": 0.2, None: 60}[leaves])
        return {"type": "http.disconnect"}

    async def send(message):
        if leaves and message.get("body"):
            await asyncio.sleep(60)

    response = artifacts.Download(blocks(), headers={"content-type": "text/plain"})
    asyncio.run(asyncio.wait_for(response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send), 5))
    assert ended == [True]


def test_mlflow_takes_it_for_the_bucket(monkeypatch):
    monkeypatch.setattr(artifacts.artifact_router, "StreamingResponse", None)
    monkeypatch.setitem(artifacts._artifact_repository_registry._registry, "s3", S3ArtifactRepository)
    assert type(get_artifact_repository("s3://bucket/x")) is S3ArtifactRepository
    artifacts.install()
    assert type(get_artifact_repository("s3://bucket/x")) is artifacts.Repository
    assert artifacts.artifact_router.StreamingResponse is artifacts.Download
