"""Two servers behind the inner door, with additional routes for the check: one with the short way, one with MLflow's own app, as if its layers were unknown."""

import time

import secure_mlflow
from secure_mlflow import shortcut


def short():
    from mlflow.server import app

    def fail():
        raise RuntimeError("of a check")

    def break_off():
        def chunks():
            yield b"x" * 1_000_000
            raise RuntimeError("of a check")

        return app.response_class(chunks(), mimetype="text/plain")

    app.add_url_rule("/check/fails", view_func=fail, endpoint="fails")
    app.add_url_rule("/check/breaks-off", view_func=break_off, endpoint="breaks-off")
    app.add_url_rule("/check/slow", view_func=lambda: time.sleep(3) or "done", endpoint="slow")
    app.add_url_rule("/check/long", view_func=lambda: app.response_class(b"x" * 65536 for _ in range(1600)), endpoint="long")
    door = secure_mlflow.create_app()
    add_to_fastapi(fail)
    return door


def add_to_fastapi(fail):
    from fastapi.routing import APIRoute
    from mlflow.server.fastapi_app import app as fastapi_app

    fastapi_app.router.routes.insert(0, APIRoute("/v1/traces/check-fails", fail))


def own():
    shortcut.difference = lambda *_: "requested by a check"
    secure_mlflow.StaticFiles = lambda app, _: app
    return short()
