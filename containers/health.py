"""Exits with 0 as soon as the server at the address that is given answers. ECS asks every five seconds at most, and others wait for its yes, so this waits, too.

It needs nothing but the MLflow image, asks nothing that needs the database, which could not pause otherwise, and knows no proxy of the network.
"""

import http.client
import sys
import time

PATIENCE = 4  # seconds; ECS gives this five


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
