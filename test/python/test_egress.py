"""Where a request may make the server connect to."""

import ipaddress
import socket
import threading

import pytest

from secure_mlflow import egress
from secure_mlflow.access import Caller, Level, caller


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_on_443_are_allowed(address):
    egress.Egress([]).check((address, 443))


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.0.0.2", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.170.2", "169.254.169.254", "224.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:169.254.170.2", "64:ff9b::7f00:1", "::127.0.0.1", "::a9fe:aa02", "2002:7f00:1::", "localhost", "127.1", "2130706433", "",
])
def test_no_other_is(address):
    with pytest.raises(egress.Refused):
        egress.Egress([]).check((address, 443))


@pytest.mark.parametrize("port", [80, 22, 5432, 8443])
def test_nor_another_port(port):
    with pytest.raises(egress.Refused):
        egress.Egress([]).check(("93.184.216.34", port))


def test_private_providers_are_allowed_as_they_resolve_now():
    answers, now, asked = {"vllm.internal": "10.0.0.7"}, [0.0], []

    def resolve(host, port, type):
        asked.append(host)
        return [(socket.AF_INET, type, 6, "", (answers[host], port))]

    guard = egress.Egress(["http://vllm.internal:8000", "https://vllm.internal"], resolve, lambda: now[0])
    guard.check(("10.0.0.7", 8000))
    guard.check(("10.0.0.7", 443))
    assert len(asked) == 2
    for other in [("10.0.0.7", 80), ("10.0.0.8", 8000)]:
        with pytest.raises(egress.Refused):
            guard.check(other)
    answers["vllm.internal"], now[0] = "10.0.0.8", 61.0
    guard.check(("10.0.0.8", 8000))
    with pytest.raises(egress.Refused):
        guard.check(("10.0.0.7", 8000))


def test_a_name_that_does_not_resolve_lets_nothing_through():
    def fail(*_, **__):
        raise socket.gaierror

    with pytest.raises(egress.Refused):
        egress.Egress(["http://gone.internal"], fail).check(("10.0.0.7", 80))


def test_what_is_refused_is_logged_and_not_answered(capsys):
    with pytest.raises(egress.Refused) as caught:
        egress.Egress([]).check(("10.0.0.7", 443))
    assert "10.0.0.7" not in str(caught.value)
    assert capsys.readouterr().out == 'secure-mlflow refused a connection to "10.0.0.7" on port 443 for null: it is not public\n'


def test_only_connections_for_a_caller_are_looked_at(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", socket.socket.connect)  # put back afterwards
    monkeypatch.setattr(socket.socket, "connect_ex", socket.socket.connect_ex)
    from botocore.httpsession import URLLib3Session

    monkeypatch.setattr(URLLib3Session, "send", lambda session, request: socket.create_connection(request).close())
    egress.Egress([]).install()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        socket.create_connection(address).close()
        token = caller.set(Caller("ada@example.com", Level.ADMIN))
        try:
            with pytest.raises(egress.Refused):
                socket.create_connection(address)
            with pytest.raises(egress.Refused):
                socket.socket().connect_ex(address)
            URLLib3Session.send(None, address)  # the SDK of AWS goes where the environment says
            with pytest.raises(egress.Refused):
                socket.create_connection(address)
        finally:
            caller.reset(token)
        other = threading.Thread(target=lambda: socket.create_connection(address).close())
        other.start()
        other.join()


@pytest.mark.parametrize("inner, outer", [("::ffff:93.184.216.34", True), ("64:ff9b::5db8:d822", True), ("2002:5db8:d822::", True), ("64:ff9b::a00:1", False)])
def test_of_an_address_within_another_the_inner_counts(inner, outer):
    assert egress.is_public(ipaddress.ip_address(inner)) is outer
