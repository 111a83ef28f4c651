"""Sends and fetches objects as MLflow does, without MLflow: what the stand-in for S3 can do by itself.

Arguments: bucket, prefix of the keys, size in bytes, how many at once. Prints the seconds of both ways as JSON.
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
