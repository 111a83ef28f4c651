"""Uploads and downloads objects as MLflow does, but without MLflow, to measure the stand-in for S3 alone.

Arguments: bucket, prefix of the keys, size in bytes, number of simultaneous transfers. Prints the seconds of both directions as JSON.
"""

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import boto3

bucket, prefix, size, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
s3 = boto3.client("s3")
seconds = {}
with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(count) as executor:
    with open(f"{folder}/source", "wb") as source:
        source.truncate(size)
    for way, transfer in {
        "upload": lambda index: s3.upload_file(f"{folder}/source", bucket, f"{prefix}/{index}"),
        "download": lambda index: s3.download_file(bucket, f"{prefix}/{index}", f"{folder}/{index}"),
    }.items():
        began = time.monotonic()
        list(executor.map(transfer, range(count)))
        seconds[way] = time.monotonic() - began
print(json.dumps(seconds))
