"""Prints S3's answers to the role of the task inside its folder, outside, and in another bucket. Arguments: endpoint, bucket, folder, an object outside."""

import json
import sys

import boto3
from botocore.exceptions import ClientError

endpoint, bucket, folder, outside = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="eu-central-1")


def answer(call, **arguments):
    try:
        call(**{"Bucket": bucket, **arguments})
        return "ok"
    except ClientError as error:
        return {"403": "AccessDenied"}.get(error.response["Error"]["Code"], error.response["Error"]["Code"])


def use(bucket):
    key = f"{folder}/second-wall.txt"
    return [
        answer(s3.put_object, Bucket=bucket, Key=key, Body=b"x"),
        answer(s3.get_object, Bucket=bucket, Key=key),
        answer(s3.list_objects_v2, Bucket=bucket, Prefix=f"{folder}/"),
        answer(s3.delete_object, Bucket=bucket, Key=key),
    ]


print(json.dumps({
    "inside": use(bucket),
    "outside": [
        answer(s3.put_object, Key=outside, Body=b"overwritten"),
        answer(s3.put_object, Key=f"{folder}-2/x", Body=b"x"),
        answer(s3.get_object, Key=outside),
        answer(s3.list_objects_v2, Prefix="outside/"),
        answer(s3.list_objects_v2),
        answer(s3.delete_object, Key=outside),
    ],
    "elsewhere": use("another-bucket"),
}))
