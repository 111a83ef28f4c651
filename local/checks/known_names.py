"""Prints the settings of the installed programs as JSON: `names`, the variables that the server may read; `unnamed`, reads of a variable whose name is
known only at run time; and `gunicorn`, gunicorn's options, with `…` after options that need a value.

Variables are found in the sources, because no program has the whole list: MLflow declares most of them in one module, but not all, and the packages
that it uses read others.
"""

import ast
import importlib.util
import json
import re
from collections import defaultdict
from pathlib import Path

from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, DEFAULT_S3_CONFIG_VARS
from gunicorn.config import KNOWN_SETTINGS
from mlflow import environment_variables

# The packages in the process of the server. They are listed by name, so that a missing package is an error.
PACKAGES = ["mlflow", "uvicorn", "gunicorn", "fastapi", "starlette", "flask", "werkzeug", "click", "dotenv", "huey",
            "botocore", "google.auth", "requests", "urllib3", "aiohttp", "sqlalchemy"]
DECLARATIONS = {"_EnvironmentVariable", "_BooleanEnvironmentVariable"}
NAME = re.compile(r"[A-Za-z_]\w*")


def scan(package):
    root = Path(importlib.util.find_spec(package).origin).parent
    trees = {path.relative_to(root.parent): ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))}
    constants = constants_of(trees.values())
    names, unnamed = set(), set()
    for path, tree in trees.items():
        environs, getters = aliases(tree)
        for node in ast.walk(tree):
            for expression in read_by(node, environs, getters):
                found = meant(expression, constants)
                names |= found
                if not found:
                    unnamed.add(f"{path}: {ast.unparse(expression)}")
    return names, unnamed


def aliases(tree):
    """The names of `os.environ` and `os.getenv` in a module."""
    imported = {alias.name: alias.asname or alias.name
                for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "os" for alias in node.names}
    return {"os.environ", imported.get("environ", "")}, {"os.getenv", imported.get("getenv", ""), *DECLARATIONS}


def read_by(node, environs, getters):
    """The expressions that name a variable."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) in environs:
        yield node.slice
    elif isinstance(node, ast.Compare) and any(ast.unparse(other) in environs for other in node.comparators):
        yield node.left
    elif isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in ("get", "pop", "setdefault") and ast.unparse(function.value) in environs:
            yield node.args[0]
        elif ast.unparse(function) in getters:
            yield node.args[0]
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "envvar")  # of a command line


def constants_of(trees):
    values = defaultdict(set)
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) and NAME.fullmatch(node.value.value):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id.isupper():
                        values[target.id].add(node.value.value)
    return values


def meant(expression, constants):
    """The names that an expression may stand for; none if they are known only at run time."""
    if isinstance(expression, ast.Constant):
        return {expression.value}
    declared = re.sub(r"\.(name|value)$", "", ast.unparse(expression)).rsplit(".", 1)[-1]
    variable = getattr(environment_variables, declared, None)
    return {variable.name} if isinstance(variable, environment_variables._EnvironmentVariable) else constants.get(declared, set())


scanned = [scan(package) for package in PACKAGES]
names = {variable.name for variable in vars(environment_variables).values() if isinstance(variable, environment_variables._EnvironmentVariable)}
names |= {name for table in (BOTOCORE_DEFAUT_SESSION_VARIABLES, DEFAULT_S3_CONFIG_VARS) for _, variables, *_ in table.values()
          for name in ([variables] if isinstance(variables, str) else variables or [])}
print(json.dumps({
    "names": sorted(names.union(*(found for found, _ in scanned))),
    "unnamed": sorted(set().union(*(unnamed for _, unnamed in scanned))),
    "gunicorn": sorted(option if str(setting.action).startswith("store_") else f"{option} …" for setting in KNOWN_SETTINGS for option in setting.cli or []),
}))
