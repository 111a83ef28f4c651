"""Exits with 0 as soon as the server at the given address answers. It waits for the answer, because ECS runs the check only every five seconds.

It needs only the MLflow image and uses no proxy of the network. Its request does not use the database, which could not pause otherwise.
"""

import http.client
import sys
import time

PATIENCE = 4  # seconds; ECS allows five


def answers(address):
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    deadline = time.monotonic() + PATIENCE
    while not answers(sys.argv[1]):
        if time.monotonic() > deadline:
            sys.exit(1)
        time.sleep(0.1)
