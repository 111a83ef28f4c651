"""Limits the addresses to which a request can make the server connect.

People can store addresses that MLflow then calls, and MLflow checks only some of them. Here every connection on behalf of a caller is checked,
whatever library makes it and wherever the address comes from: a name that resolves to another address, a redirect, a field that was overlooked.
"""

import contextlib
import contextvars
import ipaddress
import json
import os
import socket
import threading
import time
from urllib.parse import urlsplit

from .access import caller

HTTPS = 443
RESOLVED_FOR = 60  # seconds
by_aws_sdk = contextvars.ContextVar("by_aws_sdk", default=False)


class Refused(Exception):
    """Not an OSError, which HTTP libraries treat as a temporary failure: some would retry for minutes."""


class Egress:
    def __init__(self, private_providers, resolve=socket.getaddrinfo, clock=time.monotonic):
        self.private = [(url.hostname, url.port or {"http": 80, "https": HTTPS}[url.scheme]) for url in map(urlsplit, private_providers)]
        self.resolve, self.clock = resolve, clock
        self.lock, self.known, self.known_until = threading.Lock(), frozenset(), 0.0

    @classmethod
    def read(cls, environment=os.environ):
        return cls(environment.get("SECURE_MLFLOW_PRIVATE_PROVIDERS", "").split())

    def check(self, address):
        host, port = address[0], address[1]
        try:
            ip = ipaddress.ip_address(host.split("%")[0])
        except ValueError:
            ip = None  # a name, which the system would resolve itself
        if ip is not None and ((port == HTTPS and is_public(ip)) or (str(ip), port) in self.private_addresses()):
            return
        # The log names the address, the answer does not: it would reveal the address of a name in this network.
        who = caller.get()
        print(f"secure-mlflow refused a connection to {json.dumps(host)} on port {port} for {json.dumps(who and who.name)}: it is not public", flush=True)
        raise Refused(f"The server connects for people to public addresses on port {HTTPS} only")

    def private_addresses(self):
        with self.lock:
            if self.private and self.clock() >= self.known_until:
                self.known = frozenset(self.addresses())
                self.known_until = self.clock() + RESOLVED_FOR
            return self.known

    def addresses(self):
        for host, port in self.private:
            with contextlib.suppress(OSError):
                for *_, address in self.resolve(host, port, type=socket.SOCK_STREAM):
                    yield str(ipaddress.ip_address(address[0].split("%")[0])), port

    def install(self):
        """Guards all sockets of this process that Python connects. libpq uses others: the connections to the database are not checked."""
        for name in ("connect", "connect_ex"):
            setattr(socket.socket, name, self.guarded(getattr(socket.socket, name)))
        # The AWS SDK connects to endpoints of AWS, and to those in the environment of the container.
        from botocore.httpsession import URLLib3Session

        send = URLLib3Session.send

        def send_by_aws_sdk(session, request):
            token = by_aws_sdk.set(True)
            try:
                return send(session, request)
            finally:
                by_aws_sdk.reset(token)

        URLLib3Session.send = send_by_aws_sdk

    def guarded(self, connect):
        def connect_if_allowed(sock, address):
            if caller.get() is not None and not by_aws_sdk.get() and sock.family in (socket.AF_INET, socket.AF_INET6):
                self.check(address)
            return connect(sock, address)

        return connect_if_allowed


WITH_IPV4 = [ipaddress.ip_network(network) for network in ("64:ff9b::/96", "::/96")]  # NAT64, IPv4-compatible


def is_public(ip):
    """If an IPv6 address stands for an IPv4 address, the latter counts."""
    if ip.version == 6:
        inner = ip.ipv4_mapped or ip.sixtofour or (ipaddress.ip_address(int(ip) & 0xFFFFFFFF) if any(ip in network for network in WITH_IPV4) else None)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast
