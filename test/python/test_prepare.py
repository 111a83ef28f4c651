from __future__ import annotations

import base64
import csv
import json
import os
import signal
import stat
import subprocess
import sys
import zlib
from importlib.metadata import distributions
from pathlib import Path

import certifi
import prepare
import psycopg2
import pytest
from conftest import CONTAINERS, Database, counted, pack, start
from mlflow.store.db.utils import _get_latest_schema_revision

URI = "postgresql+psycopg2://mlflow@host:5432/mlflow?keepalives_idle=10"
LIBPQ_URI = "postgresql://mlflow@host:5432/mlflow?keepalives_idle=10"
IDLE = "SET idle_session_timeout = 0"
LOCK = "SELECT pg_try_advisory_lock(%s)"


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only by sleeping. Returns the naps."""
    naps: list[float] = []
    monkeypatch.setattr(prepare.time, "sleep", naps.append)
    monkeypatch.setattr(prepare.time, "monotonic", lambda: sum(naps))
    return naps


def failure(capsys, action, *arguments) -> str:
    """The one line that says why, and the exit code 1."""
    with pytest.raises(SystemExit) as end:
        action(*arguments)
    assert end.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert counted("failedPreparations", "\n".join(lines)) == lines[-1:]
    return lines[-1]


class TestLines:
    def test_say_one_line_whatever_the_message_holds(self, capsys, clock):
        prepare.say("two\n  lines")
        assert capsys.readouterr().out == "prepare two lines\n"

    def test_say_why_and_exit(self, capsys):
        assert failure(capsys, prepare.fail, "no\nroute") == "prepare FAILED: no route"


class TestVolume:
    def test_is_writable_for_everybody_and_nobody_removes_the_files_of_others(self, tmp_path):
        tmp_path.chmod(0o755)
        prepare.open_volume(tmp_path)
        assert mode(tmp_path) == 0o1777


class TestMachineIdentities:
    @pytest.mark.parametrize("identities", [[], ["arn:aws:iam::1:role/a"], ["arn:aws:iam::1:role/a,b", 'q"uote', "x@example.com"]])
    def test_are_one_a_line_for_a_reader_of_csv(self, tmp_path, identities):
        file = tmp_path / "identities.csv"
        prepare.write_machine_identities("\n".join(identities), file)
        assert list(csv.reader(file.open())) == [[identity] for identity in identities]
        assert mode(file) == 0o444

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_leave_the_line_by_which_starts_of_tasks_are_counted(self, tmp_path, capsys, count):
        prepare.write_machine_identities("\n".join("abc"[:count]), tmp_path / "identities.csv")
        (line,) = counted("taskStarts", capsys.readouterr().out)
        assert line.endswith(f" {count}")


class TestPrograms:
    @pytest.mark.parametrize("task", ["service", "clean-up"])
    def test_are_written_as_they_were_packed_and_only_root_changes_them(self, tmp_path, task):
        packed = (CONTAINERS / f"{task}.packed").read_text()
        programs = json.loads(zlib.decompress(base64.b64decode(packed)))
        prepare.write_programs(packed, str(tmp_path))
        assert all((tmp_path / name).read_text() == text for name, text in programs.items())
        assert {mode(file) for file in tmp_path.rglob("*.*") if file.is_file()} == {0o444}


class TestInnerDoor:
    PACKED = (CONTAINERS / "service.packed").read_text()

    def look(self, packed, directory):
        prepare.write_programs(packed, str(directory))
        return prepare.look_at_mlflow(str(directory))

    def test_is_found_like_an_installed_package(self, tmp_path):
        prepare.write_programs(self.PACKED, str(tmp_path))
        (package,) = distributions(path=[str(tmp_path)])
        assert [(app.group, app.name, app.value) for app in package.entry_points] == [("mlflow.app", "secure-mlflow", "secure_mlflow:create_app")]

    def test_knows_this_mlflow(self, tmp_path):
        assert prepare.latest_revision(self.look(self.PACKED, tmp_path)) == _get_latest_schema_revision()

    @pytest.mark.parametrize("text, reason", [
        ("print('noise'); print('secure-mlflow FAILED: too new'); raise SystemExit(1)", "too new"),
        ("raise ValueError('broken')", "ValueError: broken"),
        ("raise SystemExit(1)", "no output"),
    ])
    def test_says_which_mlflow_it_does_not_know(self, tmp_path, capsys, text, reason):
        assert failure(capsys, prepare.latest_revision, self.look(pack({"secure_mlflow/__init__.py": text}), tmp_path)) == f"prepare FAILED: {reason}"


class TestCaBundle:
    def fetch(self, source: Path, target: Path) -> None:
        prepare.fetch_ca_bundle(source.as_uri(), target)

    def test_is_written_as_it_came_and_for_reading_alone(self, tmp_path, capsys):
        self.fetch(Path(certifi.where()), tmp_path / "ca.pem")
        assert (tmp_path / "ca.pem").read_text() == certifi.contents()
        assert mode(tmp_path / "ca.pem") == 0o444
        assert f"CA bundle written, {certifi.contents().count('BEGIN CERTIFICATE')} certificates" in capsys.readouterr().out

    def test_is_asked_for_again_until_it_is_there(self, tmp_path, monkeypatch):
        source = tmp_path / "source.pem"
        naps = []

        def appears_after_two_naps(seconds):
            naps.append(seconds)
            if len(naps) == 2:
                source.write_text(certifi.contents())

        monkeypatch.setattr(prepare.time, "sleep", appears_after_two_naps)
        self.fetch(source, tmp_path / "ca.pem")
        assert naps == [2, 4]
        assert (tmp_path / "ca.pem").read_text() == certifi.contents()

    @pytest.mark.parametrize("content", ["<html>sign in to the hotel's network</html>", certifi.contents()[:-100], "grüß Gott"])
    def test_that_is_none_is_refused(self, tmp_path, capsys, clock, content):
        source = tmp_path / "source.pem"
        source.write_text(content, encoding="utf-8")
        line = failure(capsys, self.fetch, source, tmp_path / "ca.pem")
        assert f"cannot get the CA bundle of the database from {source.as_uri()} (does the task have a route to it?): " in line
        assert clock == [2, 4, 8, 16]
        assert not (tmp_path / "ca.pem").exists()


class TestConnect:
    def attempts(self, monkeypatch, *results):
        """Each attempt has the next result, which an error is raised from."""
        left = list(results)
        uris = []

        def connect(uri, application_name):
            assert application_name == "prepare"
            uris.append(uri)
            result = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(result, str):
                raise psycopg2.OperationalError(result)
            return result

        monkeypatch.setattr(prepare.psycopg2, "connect", connect)
        return uris

    def test_names_no_driver_to_libpq_and_commits_each_statement(self, monkeypatch):
        database = Database()
        uris = self.attempts(monkeypatch, database)
        assert prepare.connect(URI) is database
        assert uris == [LIBPQ_URI]
        assert database.autocommit is True

    @pytest.mark.parametrize("reason", [
        "FATAL:  the database system is starting up",
        'connection to server at "host" (10.0.0.1), port 5432 failed: Connection refused',
        "timeout expired",
        'could not translate host name "host" to address: Name or service not known',
        "server closed the connection unexpectedly",
        "SSL SYSCALL error: EOF detected",
        "FATAL:  remaining connection slots are reserved",
    ])
    def test_waits_for_a_database_that_wakes(self, monkeypatch, capsys, clock, reason):
        database = Database()
        self.attempts(monkeypatch, reason, reason, database)
        assert prepare.connect(URI) is database
        assert clock == [3, 3]
        assert capsys.readouterr().out.count("database not ready, trying again: ") == 2

    def test_does_not_wait_for_one_that_refuses(self, monkeypatch, capsys, clock):
        self.attempts(monkeypatch, 'FATAL:  password authentication failed for user "mlflow"\n')
        line = failure(capsys, prepare.connect, URI)
        assert line.endswith('FAILED: cannot connect to the database: FATAL: password authentication failed for user "mlflow"')
        assert clock == []

    def test_waits_five_minutes(self, monkeypatch, capsys, clock):
        self.attempts(monkeypatch, "Connection refused")
        assert "cannot connect to the database: Connection refused" in failure(capsys, prepare.connect, URI)
        assert 300 <= sum(clock) <= 306


class TestLock:
    def test_is_held_by_a_session_that_may_idle(self, clock):
        asked = []
        database = Database({LOCK: lambda values: asked.append(values) or [(True,)]})
        prepare.hold_lock(database)
        assert database.events == [IDLE, LOCK]
        assert asked == [(0x6D6C666C6F77,)]
        assert clock == []

    def test_is_waited_for(self, capsys, clock):
        database = Database({LOCK: lambda _: [(len(clock) == 3,)]})
        prepare.hold_lock(database)
        assert clock == [2, 2, 2]
        assert capsys.readouterr().out.count("another task is migrating, waiting for it") == 3

    def test_is_waited_for_an_hour(self, capsys, clock):
        line = failure(capsys, prepare.hold_lock, Database({LOCK: [(False,)]}))
        assert "another task has held the migration lock for 3600 s" in line
        assert 3600 <= sum(clock) <= 3604


class TestRevision:
    def test_is_none_where_there_is_no_schema(self):
        database = Database({"to_regclass('alembic_version')": [(None,)]})
        assert prepare.revision(database) is None
        assert len(database.events) == 1  # the table is not read

    def test_is_what_the_table_says(self):
        assert prepare.revision(Database({"to_regclass": [("alembic_version",)], "version_num": [("1b5f0d9ad7c1",)]})) == "1b5f0d9ad7c1"


class TestMigrate:
    @pytest.fixture
    def upgrade(self, monkeypatch):
        """Plays `mlflow db upgrade`. Returns how it was called, and takes what it is to answer."""

        class Upgrade:
            code, output = 0, "INFO: done\n"

            def __call__(self, command, env, **options):
                self.command, self.environment = command, env
                self.folder_was_there = Path(env["TMPDIR"]).is_dir()
                return subprocess.CompletedProcess(command, self.code, self.output)

        upgrade = Upgrade()
        monkeypatch.setattr(prepare.subprocess, "run", upgrade)
        return upgrade

    def test_runs_the_command_of_this_mlflow_with_its_driver(self, upgrade, capsys):
        prepare.migrate(URI)
        assert upgrade.command == [sys.executable, "-m", "mlflow", "db", "upgrade", URI]
        assert capsys.readouterr().out == ""

    def test_leaves_no_file_in_the_folder_of_the_server(self, upgrade, monkeypatch):
        monkeypatch.setenv("PGPASSWORD", "secret")
        prepare.migrate(URI)
        folder = upgrade.environment["TMPDIR"]
        assert upgrade.folder_was_there and not Path(folder).exists()
        assert upgrade.environment == {**os.environ, "TMPDIR": folder, "HOME": folder}

    def test_says_what_to_do_where_the_schema_is_newer(self, upgrade, capsys):
        upgrade.code, upgrade.output = 1, "Traceback\nalembic.util.exc.CommandError: Can't locate revision identified by 'x'\n"
        line = failure(capsys, prepare.migrate, URI)
        assert "the schema of the database is newer than this MLflow: deploy the newer image again" in line

    @pytest.mark.parametrize(("output", "reason"), [
        ("Traceback\nKeyError: 1\nduring that\nOperationalError: disk full\nsee https://sqlalche.me\n", "OperationalError: disk full"),
        ("killed\n", "killed"),
        ("", "no output"),
    ])
    def test_says_why_it_failed(self, upgrade, capsys, output, reason):
        upgrade.code, upgrade.output = 3, output
        assert failure(capsys, prepare.migrate, URI).endswith(f"FAILED: mlflow db upgrade exited with 3: {reason}")


class TestAdmit:
    ROLE = "FROM pg_roles"
    GRANT = "GRANT rds_iam TO mlflow_iam"

    def admit(self, monkeypatch, found, connect=None):
        database = Database({self.ROLE: found})
        monkeypatch.setattr(prepare.psycopg2, "connect", connect or database.connect)
        return database, lambda: prepare.admit(database, URI, "mlflow_iam")

    def created(self, database) -> bool:
        return any("CREATE ROLE mlflow_iam LOGIN" in event for event in database.events)

    def test_makes_the_user_and_tries_the_password_again(self, monkeypatch, capsys):
        database, admit = self.admit(monkeypatch, [])
        admit()
        assert self.created(database)
        assert database.uris == [LIBPQ_URI]
        assert database.events[-2:] == [self.GRANT, "close"]
        out = capsys.readouterr().out
        assert "database user mlflow_iam created" in out and "mlflow_iam may use IAM authentication" in out

    def test_grants_rows_and_nothing_more(self, monkeypatch):
        database, admit = self.admit(monkeypatch, [(True,)])
        admit()
        assert database.events[1:] == [
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO mlflow_iam; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO mlflow_iam"
        ]

    def test_admits_a_user_that_was_made_before(self, monkeypatch):
        database, admit = self.admit(monkeypatch, [(False,)])
        admit()
        assert not self.created(database)
        assert self.GRANT in database.events

    def test_is_undone_where_the_password_is_no_longer_taken(self, monkeypatch, capsys):
        def refuse(_):
            raise psycopg2.OperationalError("PAM authentication failed")

        database, admit = self.admit(monkeypatch, [(False,)], refuse)
        line = failure(capsys, admit)
        assert "the password was rejected after mlflow_iam was allowed IAM authentication, so this was undone: PAM authentication failed" in line
        assert database.events[-2:] == [self.GRANT, "REVOKE rds_iam FROM mlflow_iam"]


class TestIndexes:
    FIRST, SECOND = prepare.RUNS_INDEXES
    OTHERS = [("run_pk", True, False), ("index_runs_name_of_some", True, False)]
    PATIENCE = "SET statement_timeout = '60s'"

    def index(self, found, answers=None):
        database = Database({**(answers or {}), "FROM pg_index": found})
        prepare.index_runs(database)
        return [event.split(" ON runs ")[0] for event in database.events[1:]]

    def made(self, *names):
        return [f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name}" for name in names]

    def dropped(self, *names):
        return [f"DROP INDEX CONCURRENTLY IF EXISTS {name}" for name in names]

    def test_are_made_where_they_are_missing(self, capsys):
        assert self.index(self.OTHERS) == [self.PATIENCE, *self.made(self.FIRST, self.SECOND)]
        assert capsys.readouterr().out == f"prepare index {self.FIRST} created\nprepare index {self.SECOND} created\n"

    def test_are_left_alone_where_they_are_there(self, capsys):
        assert self.index([*self.OTHERS, (self.FIRST, True, True), (self.SECOND, True, True)]) == [self.PATIENCE]
        assert capsys.readouterr().out == ""

    def test_are_made_anew_where_a_build_was_interrupted(self):
        assert self.index([(self.FIRST, False, True), (self.SECOND, True, True)]) == [self.PATIENCE, *self.dropped(self.FIRST), *self.made(self.FIRST)]

    def test_go_when_mlflow_brings_one(self, capsys):
        found = [("index_runs_experiment_id", True, True), (self.FIRST, True, True), (self.SECOND, False, True)]
        assert self.index(found) == [self.PATIENCE, *self.dropped(self.FIRST, self.SECOND)]
        assert capsys.readouterr().out == f"prepare index {self.FIRST} dropped\nprepare index {self.SECOND} dropped\n"

    def test_do_not_go_for_one_that_is_not_complete(self):
        assert self.index([("index_runs_experiment_id", False, True), (self.FIRST, True, True), (self.SECOND, True, True)]) == [self.PATIENCE]

    def test_that_another_release_has_made_go(self):
        assert self.index([("secure_mlflow_old", True, True), (self.FIRST, True, True), (self.SECOND, True, True)]) == [self.PATIENCE, *self.dropped("secure_mlflow_old")]

    def test_do_not_keep_the_task_from_starting(self, capsys):
        def late(_):
            raise psycopg2.errors.QueryCanceled("canceling statement due to statement timeout\n")

        assert self.index([], {"CREATE INDEX": late}) == [self.PATIENCE, *self.made(self.FIRST)]  # and does not wait for the other, too
        assert capsys.readouterr().out == (
            "prepare continues without an index of the runs, the next start tries again: canceling statement due to statement timeout\n")


class TestMain:
    @pytest.fixture
    def world(self, monkeypatch, tmp_path):
        """All around it. Returns the events, the steps of `prepare` among them."""
        (tmp_path / "tmp").mkdir()
        for name, value in {
            "MLFLOW_BACKEND_STORE_URI": URI,
            "PREPARE_WRITABLE_DIRECTORY": str(tmp_path / "tmp"),
            "PREPARE_MACHINE_IDENTITIES": "a",
            "PREPARE_MACHINE_IDENTITIES_FILE": str(tmp_path / "identities.csv"),
            "PREPARE_CA_BUNDLE_URL": Path(certifi.where()).as_uri(),
            "PGSSLROOTCERT": str(tmp_path / "ca.pem"),
            "PREPARE_PROGRAMS_DIRECTORY": str(tmp_path / "python"),
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("PREPARE_SCHEMA", "PREPARE_IAM_USER"):
            monkeypatch.delenv(name, raising=False)
        events: list[str] = []
        revisions = iter(["old", "new"])
        database = Database({LOCK: [(True,)], "to_regclass": [("alembic_version",)], "version_num": lambda _: [(next(revisions),)]}, events)

        def connect(*_, **__):
            assert mode(tmp_path / "tmp") == 0o1777 and (tmp_path / "identities.csv").exists() and (tmp_path / "ca.pem").exists()
            events.append("connect")
            return database

        monkeypatch.setattr(prepare.psycopg2, "connect", connect)
        monkeypatch.setattr(sys, "argv", ["-c", pack({"program.py": ""})])
        monkeypatch.setattr(prepare, "look_at_mlflow", lambda directory: events.append(f"look {os.listdir(directory)}"))
        monkeypatch.setattr(prepare, "latest_revision", lambda _: events.append("known") or "new")
        monkeypatch.setattr(prepare, "migrate", lambda uri: events.append(f"migrate {uri}"))
        monkeypatch.setattr(prepare, "admit", lambda _, uri, user: events.append(f"admit {user} {uri}"))
        monkeypatch.setattr(prepare, "index_runs", lambda _: events.append("index"))
        before = signal.getsignal(signal.SIGTERM)
        yield events
        signal.signal(signal.SIGTERM, before)

    def steps(self, events: list[str]) -> list[str]:
        return [event for event in events if event in (LOCK, IDLE) or event.split()[0] in ("connect", "migrate", "admit", "index")]

    def test_migrates_under_the_lock(self, world, capsys):
        prepare.main()
        assert self.steps(world) == ["connect", IDLE, LOCK, f"migrate {URI}", "index"]
        out = capsys.readouterr().out
        assert "upgrading the schema, revision old" in out and "schema upgraded to revision new" in out

    def test_admits_the_user_of_the_server_after_the_migration(self, world, monkeypatch):
        monkeypatch.setenv("PREPARE_IAM_USER", "mlflow_iam")
        prepare.main()
        assert self.steps(world)[-3:] == [f"migrate {URI}", f"admit mlflow_iam {URI}", "index"]

    def test_looks_whether_the_inner_door_knows_this_mlflow_before_it_migrates(self, world):
        prepare.main()
        (look,) = [event for event in world if event.startswith("look ") and "program.py" in event]
        assert world.index(look) < world.index("connect") < world.index("known") < world.index(f"migrate {URI}")

    def test_leaves_the_schema_where_it_is_told_to(self, world, monkeypatch, capsys):
        monkeypatch.setenv("PREPARE_SCHEMA", "leave")
        monkeypatch.setenv("PREPARE_IAM_USER", "mlflow_iam")
        prepare.main()
        assert world == ["connect"]
        assert "database is ready, schema left unchanged" in capsys.readouterr().out

    def test_makes_the_schema_where_there_is_none(self, world, monkeypatch, capsys):
        revisions = [None, "new"]
        monkeypatch.setattr(prepare, "revision", lambda _: revisions.pop(0))
        prepare.main()
        assert f"migrate {URI}" in world
        assert "upgrading the schema, revision none yet" in capsys.readouterr().out

    def test_does_not_start_mlflow_where_the_schema_is_up_to_date(self, world, monkeypatch, capsys):
        monkeypatch.setattr(prepare, "revision", lambda _: "new")
        prepare.main()
        assert self.steps(world) == ["connect", IDLE, LOCK, "index"]
        assert "prepare schema is up to date, revision new\n" in capsys.readouterr().out


PSYCOPG2 = """
class Error(Exception):
    pass

class OperationalError(Error):
    pass

class Connection:
    def cursor(self):
        return self
    def execute(self, query, values=()):
        print("SQL:", query, flush=True)
    def fetchone(self):
        return ({locked},)
    def fetchall(self):
        return []

def connect(*_, **__):
    return Connection()
"""


class TestProcess:
    """As the container runs it, with modules in place of psycopg2 and MLflow."""

    @pytest.fixture
    def run(self, tmp_path):
        def run(locked: bool, migration: str) -> subprocess.Popen:
            modules = tmp_path / "modules"
            (modules / "mlflow").mkdir(parents=True)
            (modules / "mlflow" / "__init__.py").touch()
            (modules / "psycopg2.py").write_text(PSYCOPG2.format(locked=locked))
            (modules / "mlflow" / "__main__.py").write_text(migration)
            look = "def _get_latest_schema_revision(): pass"
            programs = {"prepare.py": (CONTAINERS / "prepare.py").read_text(), "secure_mlflow/__init__.py": "", "mlflow/__init__.py": "", "mlflow/store/db/utils.py": look}
            return start(["-c", (CONTAINERS / "unpack.py").read_text(), pack(programs)], {
                "PYTHONPATH": str(modules),
                "PYTHONUNBUFFERED": "1",
                "MLFLOW_BACKEND_STORE_URI": URI,
                "PREPARE_WRITABLE_DIRECTORY": str(tmp_path),
                "PREPARE_MACHINE_IDENTITIES": "a\nb",
                "PREPARE_MACHINE_IDENTITIES_FILE": str(tmp_path / "identities.csv"),
                "PREPARE_CA_BUNDLE_URL": Path(certifi.where()).as_uri(),
                "PGSSLROOTCERT": str(tmp_path / "ca.pem"),
                "PREPARE_PROGRAMS_DIRECTORY": str(tmp_path / "python"),
            })

        return run

    def test_does_its_work_and_exits_with_0(self, run, tmp_path):
        process = run(locked=True, migration="print('not shown')")
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0, out
        assert len(counted("taskStarts", out)) == 1
        assert counted("failedPreparations", out) == []
        assert "schema upgraded to revision True" in out and "not shown" not in out
        assert (tmp_path / "ca.pem").exists()

    def test_says_why_not_in_one_line_and_exits_with_1(self, run):
        process = run(locked=True, migration="raise SystemExit('DatabaseError: read-only')")
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        assert len(counted("failedPreparations", out)) == 1
        assert out.endswith("FAILED: mlflow db upgrade exited with 1: DatabaseError: read-only\n")
        assert all(line.startswith("prepare ") for line in out.splitlines() if "SQL:" not in line)

    def test_stops_when_it_is_told_to(self, run):
        process = run(locked=False, migration="")
        assert any("waiting for it" in line for line in iter(process.stdout.readline, ""))
        process.terminate()
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        assert out.splitlines()[-1].endswith("FAILED: stopped by SIGTERM")


def test_an_error_that_nobody_has_thought_of_is_one_line():
    out, _ = start([CONTAINERS / "prepare.py"], {}).communicate(timeout=30)
    assert out == "prepare FAILED: KeyError: 'MLFLOW_BACKEND_STORE_URI'\n"
    assert counted("failedPreparations", out) == [out.strip()]
