"""Prints every route of the installed MLflow and the level that the inner door requires, as JSON.

`route` is written as in docs/access-calls.md, where all paths of one call are one route. `path` names its parameters. A route has two levels if the level depends on a parameter.
"""

import json
import re

from starlette.routing import Mount

from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app as fastapi_app
from secure_mlflow.access import needed


def of_fastapi(routes, prefix=""):
    for route in routes:
        if hasattr(route, "original_router"):  # FastAPI's wrapper for routers that are included later
            yield from of_fastapi(route.original_router.routes, prefix + route.include_context.prefix)
        elif isinstance(route, Mount):
            assert (prefix + route.path, type(route.app).__name__) == ("", "_EfficientWSGIMiddleware"), "only Flask's app is mounted"
        else:
            yield from ((method, prefix + route.path) for method in route.methods)


of_flask = ((method, rule.rule) for rule in flask_app.url_map.iter_rules() for method in rule.methods)
found = []
for method, path in sorted({*of_fastapi(fastapi_app.routes), *of_flask}):
    template = re.sub(r"<(path:)?(?:int:)?([^>]*)>|{([^}:]*)(:path)?}", lambda part: f"{{{part[2] or part[3]}}}" + ("*" if part[1] or part[4] else ""), path)
    route = re.sub(r"{[^}]*}", "*", template)
    deep = re.sub(r"{[^}]*}", "1", re.sub(r"{[^}]*}\*", "x/y\n%", template))
    found.append({
        "method": method,
        "route": re.sub(r"^/(ajax-)?api/[23]\.0(/mlflow)?(?=/|-artifacts/)", "API", route),
        "path": template.replace("}*", "}"),
        "levels": sorted({str(needed(method, re.sub(r"{[^}]*}\*?", "1", template))), str(needed(method, deep))}),
    })
print(json.dumps(found))
