"""Stores sign-ins in a file that only its owner can read. Tokens go into the system's key ring if there is one."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import keyring
import platformdirs
from filelock import FileLock

from ._sources import TokenError

_logger = logging.getLogger(__name__)
_NAME = "mlflow-secure-tracking"
_TOKENS = ("id_token", "refresh_token")


def _file() -> Path:
    folder = platformdirs.user_data_path(_NAME, appauthor=False)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "sign-ins.json"


def lock() -> FileLock:
    """Held while a sign-in is read, renewed and written, because a rotating refresh token may be used only once."""
    return FileLock(_file().with_name("lock"), timeout=60)


def load() -> dict[str, dict[str, Any]]:
    """All sign-ins by origin, without tokens that are in the key ring."""
    file = _file()
    for path, mode in ((file.parent, 0o700), (file, 0o600)):
        if os.name == "posix" and path.exists() and path.stat().st_mode & 0o077:
            path.chmod(mode)
            _logger.warning(
                "sign-in: other users could read %s. Corrected; if other people use this machine, sign out and in again", path
            )
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise TokenError(f"sign-in: {file} is damaged. Delete it and sign in again") from None


def read(origin: str) -> dict[str, Any]:
    """The sign-in of a tracking server, with its tokens."""
    again = f"Run: mlflow-secure-tracking login {origin}"
    record = load().get(origin)
    if record is None:
        raise TokenError(f"sign-in: there is no sign-in to {origin} on this machine. {again}")
    if "id_token" not in record:
        try:
            record |= json.loads(keyring.get_password(_NAME, origin) or "")
        except Exception as error:  # back ends raise various exceptions
            raise TokenError(
                f"sign-in: the key ring does not return the token for {origin} ({type(error).__name__}). Unlock it, or sign"
                f" in again. {again}"
            ) from None
    return record


def write(origin: str, record: dict[str, Any]) -> str:
    """Store a sign-in and return the place of its tokens."""
    tokens = json.dumps({name: record[name] for name in _TOKENS})
    try:
        keyring.set_password(_NAME, origin, tokens)
        kept = keyring.get_password(_NAME, origin) == tokens  # some back ends drop or shorten the value
    except Exception:  # no key ring, a locked one, or a value that is too long; back ends raise various exceptions
        kept = False
    _dump(load() | {origin: {name: record[name] for name in record if not (kept and name in _TOKENS)}})
    return "the system's key ring" if kept else f"{_file()}, which only you can read, because no key ring stored it"


def delete(origin: str) -> None:
    """Delete a sign-in."""
    records = load()
    del records[origin]
    _dump(records)
    try:
        keyring.delete_password(_NAME, origin)
    except Exception:  # it was not there, or there is no key ring
        pass


def _dump(records: dict[str, Any]) -> None:
    file = _file()
    handle, new = tempfile.mkstemp(dir=file.parent)  # mode 0600, whatever the umask is
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(records, stream, indent=1)
    os.replace(new, file)
