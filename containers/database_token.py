"""Runs next to a server that uses IAM authentication: keeps a fresh IAM token in libpq's password file, which libpq reads at every connect.

It needs only the MLflow image, and runs as the server's user, who must own the file. Its settings:
  MLFLOW_BACKEND_STORE_URI    the database and its user, as the server gets it
  PGPASSFILE                  the file for the token
  DATABASE_TOKEN_SECONDS      seconds between two tokens; RDS accepts each for 15 minutes
  AWS_REGION, credentials     of the task role; a token is a signature, made without a request
"""

import os
import signal
import sys
import time
from urllib.parse import urlsplit

import boto3

RETRY_SECONDS = 5


def say(message):
    print(f"database-token {' '.join(str(message).split())}", flush=True)


def write(token, path):
    # A reader sees the old file or the new one. libpq ignores a file that other users could read.
    new = f"{path}.new"
    if os.path.exists(new):
        os.remove(new)  # left by a killed run
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write("*:*:*:*:" + token.replace("\\", "\\\\").replace(":", "\\:") + "\n")
    os.replace(new, path)


def main():
    # The first process of a container ignores SIGTERM unless it has a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    database = urlsplit(os.environ["MLFLOW_BACKEND_STORE_URI"])
    seconds = int(os.environ["DATABASE_TOKEN_SECONDS"])
    rds = boto3.client("rds", region_name=os.environ["AWS_REGION"])
    while True:
        try:
            token = rds.generate_db_auth_token(DBHostname=database.hostname, Port=database.port, DBUsername=database.username)
            write(token, os.environ["PGPASSFILE"])
            say(f"written for {database.username}, {len(token)} characters, the next in {seconds} s")
            time.sleep(seconds)
        except Exception as error:  # noqa: BLE001: the old token is valid for minutes; then the health check ends the task
            say(f"FAILED: {error}; trying again in {RETRY_SECONDS} s")
            time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    main()
