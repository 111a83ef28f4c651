"""The command ``mlflow-secure-tracking``."""

from __future__ import annotations

import argparse
import sys

from ._sources import TokenError, printable


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser("mlflow-secure-tracking", description="Sign in to an MLflow server behind oauth2-proxy.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "login": "sign in with the browser",
        "logout": "revoke the refresh token and delete the sign-in",
        "token": "print a valid bearer token, renewed if necessary",
        "doctor": "check the way to the server, and print what to change",
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("url", nargs="?", help="URL of the tracking server; default: MLFLOW_TRACKING_URI")
        if name == "login":
            command.add_argument("--device", action="store_true", help="print a link and a code for a browser on another machine")
            command.add_argument("--replace", action="store_true", help="accept that the server names a different provider or client")
        if name == "doctor":
            command.add_argument("--write", action="store_true", help="also log a run, a file and a trace; file and trace stay")
    args = parser.parse_args(argv)
    try:
        if args.command == "doctor":
            from . import _doctor

            return _doctor.doctor(args.url, write=args.write)

        from . import _sign_in

        if args.command == "login":
            _sign_in.login(args.url, args.device, args.replace)
        elif args.command == "logout":
            _sign_in.logout(args.url)
        else:
            print(_sign_in.sign_in_token(_sign_in.home(args.url))[0])
    except (TokenError, OSError) as error:
        print(printable(str(error)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0
