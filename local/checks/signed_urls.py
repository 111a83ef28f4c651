"""Prints the hosts of the URLs that MLflow signs, as JSON by region. Reads the environment of the server in each region from stdin. Sends no request."""

import json
import os
import sys
from urllib.parse import urlsplit

import boto3
from mlflow.store.artifact import s3_artifact_repo

OPERATIONS = {"get_object": {}, "put_object": {}, "upload_part": {"UploadId": "id", "PartNumber": 1}}


def hosts(environment):
    os.environ.update(environment)
    boto3.setup_default_session()  # both remember the region
    s3_artifact_repo._cached_get_s3_client.cache_clear()
    repository = s3_artifact_repo.S3ArtifactRepository(environment["MLFLOW_ARTIFACTS_DESTINATION"])
    bucket, folder = repository.parse_s3_compliant_uri(repository.artifact_uri)
    client = repository._get_s3_client()
    urls = (client.generate_presigned_url(operation, {"Bucket": bucket, "Key": f"{folder}/x", **more}) for operation, more in OPERATIONS.items())
    return [urlsplit(url).netloc for url in urls]


print(json.dumps({region: hosts(environment) for region, environment in json.load(sys.stdin).items()}))
