"""The key with which MLflow encrypts the secrets of webhooks."""

import base64
import os

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


NAME = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"


def provide_key(environment=os.environ):
    """MLflow reads it when its tables are imported. Without it, each process creates its own key and cannot read the secrets of others."""
    key = environment.setdefault(NAME, key_from(environment["MLFLOW_CRYPTO_KEK_PASSPHRASE"]))
    try:
        Fernet(key)
    except ValueError as error:  # MLflow would report it only with calls of webhooks
        raise ValueError(f"{NAME} is not a Fernet key, which is 32 bytes in URL-safe base64") from error


def key_from(passphrase):
    """A Fernet key. It is always the same for a passphrase and does not reveal it."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"secrets of webhooks").derive(passphrase.encode())
    return base64.urlsafe_b64encode(derived).decode()
