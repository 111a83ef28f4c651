from __future__ import annotations

import os
import stat
import time
from urllib.parse import parse_qs, urlsplit

import database_token
import pytest
from conftest import CONTAINERS, start


class Rds:
    def __init__(self):
        self.asked: list[dict] = []
        self.error: Exception | None = None

    def generate_db_auth_token(self, **options):
        self.asked.append(options)
        if self.error:
            raise self.error
        return r"host:5432/?Action=connect\x"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "token"


@pytest.fixture
def rds(monkeypatch, file):
    for name, value in {
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://mlflow_iam@host:5432/mlflow?keepalives_idle=10",
        "DATABASE_TOKEN_SECONDS": "600",
        "PGPASSFILE": str(file),
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(database_token.signal, "signal", lambda *_: None)
    rds = Rds()
    monkeypatch.setattr(database_token.boto3, "client", lambda service, region_name: rds if (service, region_name) == ("rds", "eu-central-1") else None)
    return rds


def naps(monkeypatch, count: int) -> list[float]:
    """How long it slept, until the last nap ends it."""
    taken: list[float] = []

    def sleep(seconds):
        taken.append(seconds)
        if len(taken) == count:
            raise KeyboardInterrupt

    monkeypatch.setattr(database_token.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        database_token.main()
    return taken


class TestFile:
    def test_holds_the_token_for_any_database_in_the_format_of_libpq(self, file):
        database_token.write(r"host:5432/?X=a\b", file)
        assert file.read_text() == "*:*:*:*:host\\:5432/?X=a\\\\b\n"  # in a field `:` and `\` have a `\` before them

    def test_is_for_its_owner_alone(self, file):
        before = os.umask(0)
        try:
            database_token.write("token", file)
        finally:
            os.umask(before)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_is_replaced_as_a_whole(self, file):
        database_token.write("first", file)
        with file.open() as reader:
            database_token.write("second", file)
            assert reader.read() == "*:*:*:*:first\n"  # who has it open reads on in the old one
        assert file.read_text() == "*:*:*:*:second\n"
        assert list(file.parent.iterdir()) == [file]

    def test_is_written_though_a_run_was_killed_while_it_wrote(self, file):
        (file.parent / "token.new").write_text("half of a tok")
        database_token.write("token", file)
        assert file.read_text() == "*:*:*:*:token\n"

    def test_is_never_written_through_a_link_of_somebody_else(self, file, tmp_path):
        (tmp_path / "target").write_text("mine")
        (tmp_path / "token.new").symlink_to(tmp_path / "target")
        database_token.write("token", file)
        assert (tmp_path / "target").read_text() == "mine"

    def test_is_not_written_through_a_link_that_leads_nowhere_yet(self, file, tmp_path):
        (tmp_path / "token.new").symlink_to(tmp_path / "target")
        with pytest.raises(FileExistsError):
            database_token.write("token", file)
        assert not (tmp_path / "target").exists()


class TestMain:
    def test_makes_a_token_for_the_user_of_the_server_every_so_often(self, rds, monkeypatch, capsys, file):
        assert naps(monkeypatch, 3) == [600, 600, 600]
        assert rds.asked == 3 * [{"DBHostname": "host", "Port": 5432, "DBUsername": "mlflow_iam"}]
        assert file.exists()
        lines = capsys.readouterr().out.splitlines()
        assert lines == 3 * ["database-token written for mlflow_iam, 27 characters, the next in 600 s"]

    def test_tries_again_soon_and_keeps_the_old_token(self, rds, monkeypatch, capsys, file):
        file.write_text("old")
        rds.error = RuntimeError("no\ncredentials")
        assert naps(monkeypatch, 2) == [5, 5]
        assert file.read_text() == "old"
        assert capsys.readouterr().out.splitlines() == 2 * ["database-token FAILED: no credentials; trying again in 5 s"]


def test_as_a_process_it_writes_a_real_token_and_stops_when_it_is_told_to(file):
    process = start([CONTAINERS / "database_token.py"], {
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg2://mlflow_iam@host:5432/mlflow",
        "DATABASE_TOKEN_SECONDS": "600",
        "PGPASSFILE": str(file),
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
    })
    line = process.stdout.readline()
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert line.startswith("database-token written for mlflow_iam, "), line
    assert time.time() - file.stat().st_mtime < 30
    *prefix, token = file.read_text().removesuffix("\n").split(":", 4)
    token = urlsplit(f"https://{token.replace(chr(92), '')}")
    assert prefix == ["*"] * 4
    assert (token.netloc, parse_qs(token.query)["DBUser"]) == ("host:5432", ["mlflow_iam"])
