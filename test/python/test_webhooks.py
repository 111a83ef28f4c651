"""The key for the secrets of webhooks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from secure_mlflow import webhooks

PACKAGES = str(Path(webhooks.__file__).parents[1])
READ = """
import secure_mlflow
from mlflow.store.model_registry.dbmodels.models import SqlWebhook
column = SqlWebhook.secret.type
import sys
print(column.process_bind_param("hush", None) if sys.argv[1] == "write" else column.process_result_value(sys.argv[1], None))
"""


def process(argument, passphrase="x" * 64):
    environment = {**os.environ, "MLFLOW_CRYPTO_KEK_PASSPHRASE": passphrase, "PYTHONPATH": PACKAGES, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", READ, argument], env=environment, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1:]


def test_it_is_a_fernet_key_that_follows_from_the_passphrase():
    key = webhooks.key_from("x" * 64)
    assert Fernet(key)
    assert key == webhooks.key_from("x" * 64) != webhooks.key_from("x" * 63)
    assert "x" * 10 not in key


def test_one_that_is_given_stays():
    given = Fernet.generate_key().decode()
    environment = {"MLFLOW_CRYPTO_KEK_PASSPHRASE": "x", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": given}
    webhooks.provide_key(environment)
    assert environment["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] == given


@pytest.mark.parametrize("given", ["", "given", "=", "x" * 44])
def test_one_that_is_no_fernet_key_ends_the_server_with_a_line(given):
    environment = {**os.environ, "MLFLOW_CRYPTO_KEK_PASSPHRASE": "x", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": given, "PYTHONPATH": PACKAGES, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", "import secure_mlflow"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "secure-mlflow FAILED: MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY is not a Fernet key, which is 32 bytes in URL-safe base64\n")


def test_what_one_process_has_written_another_reads():
    (written,) = process("write")
    assert process(written) == ["hush"]
    assert process(written, "y" * 64) == []
