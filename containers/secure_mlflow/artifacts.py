"""Artifacts that pass through the server. Small ones need one call to S3 and no file."""

import asyncio
import contextlib
import inspect
import os
import posixpath
import tempfile

from botocore.exceptions import ClientError
from mlflow.server import artifact_router
from mlflow.store.artifact.artifact_repo import StreamUploadMixin
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository
from s3transfer.utils import S3_RETRYABLE_DOWNLOAD_ERRORS
from starlette.responses import StreamingResponse

SMALL = 2 * 1024 * 1024  # bytes that each upload holds in memory and writes at once


class Repository(S3ArtifactRepository, StreamUploadMixin):
    async def log_artifact_from_async_stream(self, chunks, artifact_file_name, artifact_path=None):
        blocks = blocks_of(chunks)
        first = await anext(blocks)
        if len(first) < SMALL:
            await asyncio.to_thread(self.put, first, artifact_file_name, artifact_path)
            return
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, artifact_file_name), "wb") as file:
                await asyncio.to_thread(file.write, first)
                del first
                async for block in blocks:
                    await asyncio.to_thread(file.write, block)
            await asyncio.to_thread(self.log_artifact, file.name, artifact_path)

    def log_artifact_from_stream(self, stream, artifact_file_name, artifact_path=None):
        raise NotImplementedError("FastAPI handles uploads, not Flask")

    def put(self, content, name, folder):
        bucket, root = self.parse_s3_compliant_uri(self.artifact_uri)
        self._upload_file(Put(self._get_s3_client(), content), name, bucket, posixpath.join(root, folder or "", name))

    def download_artifacts(self, artifact_path, dst_path=None):
        """MLflow first requests whether it is a folder, and its size. Here a file is tried first, even if a folder has the same name."""
        if not artifact_path or not dst_path:
            return super().download_artifacts(artifact_path, dst_path)
        bucket, root = self.parse_s3_compliant_uri(self.artifact_uri)
        try:
            answer = self._get_s3_client().get_object(Bucket=bucket, Key=posixpath.join(root, artifact_path), **self._bucket_owner_params)
        except ClientError:
            return super().download_artifacts(artifact_path, dst_path)  # a folder, or MLflow reports the error
        path = self._create_download_destination(artifact_path, os.path.abspath(dst_path))
        with contextlib.closing(answer["Body"]) as body:  # `with` of the body itself would return the inner stream, which verifies no checksum
            if answer["ContentLength"] <= SMALL:
                with contextlib.suppress(*S3_RETRYABLE_DOWNLOAD_ERRORS):  # then MLflow tries again, below
                    content = body.read()
                    with open(path, "wb") as file:
                        file.write(content)
                    return path
        self._download_file(artifact_path, path)
        return path


class Put:
    """Replaces the client with which MLflow uploads a file. MLflow adds the content type and other arguments."""

    def __init__(self, s3, content):
        self.s3, self.content = s3, content

    def upload_file(self, Filename, Bucket, Key, ExtraArgs):
        self.s3.put_object(Bucket=Bucket, Key=Key, Body=self.content, **ExtraArgs)


async def blocks_of(chunks):
    """Yields at least one block; all but the last have `SMALL` bytes or more."""
    parts, size = [], 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= SMALL:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


class Download(StreamingResponse):
    """MLflow deletes the file of a download when its generator ends. If the client leaves, that would be when Python collects the generator."""

    def __init__(self, content, **options):
        super().__init__(content, **options)
        self.content = content

    async def __call__(self, scope, receive, send):
        try:
            await super().__call__(scope, receive, send)
        finally:
            if inspect.getgeneratorstate(self.content) == inspect.GEN_CREATED:
                next(self.content, None)  # a generator that has not begun would not end
            self.content.close()


def install():
    _artifact_repository_registry.register("s3", Repository)
    artifact_router.StreamingResponse = Download
