"""What the page may do, and that MLflow's page is the one expected."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from mlflow.server import app
from secure_mlflow import page
from test_door import ADA, SETTINGS, asgi, echo

page.adopt(page.index_of(app.static_folder), SETTINGS.sign_out_url)


@pytest.mark.parametrize("path, content_type, cache", [
    ("/", b"text/html", b"private, no-cache"), (page.SCRIPT, b"text/javascript", b"private, no-cache"), (page.PREVIEW, b"text/html", b"no-store"),
])
def test_own_pages_are_answered_here_to_whom_has_signed_in(path, content_type, cache):
    status, headers, body = asgi(echo, path=path)
    assert (status, headers[b"content-type"].split(b";")[0], bool(body)) == (200, content_type, True)
    assert headers[b"cache-control"] == cache
    assert asgi(echo, path=path, headers=[])[0] == 403
    assert asgi(echo, path=path, method="HEAD")[2] == b""
    assert b'"caller"' in asgi(echo, path=path, method="POST", headers=ADA)[2]  # no page: MLflow answers


def test_mlflows_page_is_sent_again_only_where_it_has_changed():
    status, headers, body = asgi(echo, path="/")
    assert asgi(echo, path="/", headers=[*ADA, (b"if-none-match", b'"old"')])[0] == 200
    again = asgi(echo, path="/", headers=[*ADA, (b"if-none-match", headers[b"etag"])])
    assert (again[0], again[2], again[1][b"content-security-policy"]) == (304, b"", headers[b"content-security-policy"])
    assert asgi(echo, path="/", headers=[(b"if-none-match", headers[b"etag"])])[0] == 403


def test_our_script_is_asked_for_by_another_address_where_it_has_changed():
    first = asgi(echo, path="/")[2]
    page.adopt(page.index_of(app.static_folder), "https://mlflow.example.com/elsewhere")
    assert asgi(echo, path="/")[2] != first
    page.adopt(page.index_of(app.static_folder), SETTINGS.sign_out_url)


def test_our_script_is_kept_for_good_under_its_own_address_alone():
    body = asgi(echo, path="/")[2].decode()
    query = re.search(re.escape(page.SCRIPT) + r"\?(\w+)", body)[1].encode()
    assert asgi(echo, path=page.SCRIPT, query=query)[1][b"cache-control"] == b"private, max-age=31536000, immutable"
    # That of another task, while two releases serve.
    status, headers, _ = asgi(echo, path=page.SCRIPT, query=b"0badcafe")
    assert (status, headers[b"cache-control"]) == (200, b"private, no-cache")


def test_our_script_runs_before_those_of_mlflow():
    body = asgi(echo, path="/")[2]
    assert 0 < body.index(page.SCRIPT.encode()) < body.index(b"static-files/static/js/main")


def test_the_logout_of_its_menu_ends_the_session_of_the_proxy():
    assert f'location.assign("{SETTINGS.sign_out_url}")' in asgi(echo, path=page.SCRIPT)[2].decode()


def test_a_file_is_shown_with_an_origin_of_its_own():
    policy = asgi(echo, path=page.PREVIEW)[1][b"content-security-policy"]
    assert policy.startswith(b"sandbox allow-scripts; ")
    assert b"allow-same-origin" not in policy


def test_the_sign_in_page_may_run_its_own_script_alone():
    text = (Path(page.__file__).parent / "pages" / "sign_in.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'; base-uri 'none'" in text
    assert "{{" not in script  # the script contains no part of a link


def test_a_page_without_a_head_is_not_taken(tmp_path):
    (tmp_path / "index.html").write_text("<html></html>")
    with pytest.raises(ValueError):
        page.index_of(tmp_path)
    with pytest.raises(OSError):
        page.index_of(tmp_path / "nothing")
