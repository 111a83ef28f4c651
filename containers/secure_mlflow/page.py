"""The changes in MLflow's web page, its policy, and our own pages.

MLflow's page shows what people have stored: names, notes, links, files. The policy below blocks scripts in them. HTML files, such as a report of
Plotly, need scripts: they are shown in a frame with its own origin, which has no access to the session or the page.
"""

import html
import json
import os
import zlib
from functools import lru_cache
from typing import NamedTuple

PAGES = os.path.join(os.path.dirname(__file__), "pages")
SCRIPT = "/secure-mlflow/page.js"
PREVIEW = "/secure-mlflow/preview"
PAGE_PATHS = {"/", SCRIPT}


@lru_cache(maxsize=1)
def page_policy(origin):
    """Only scripts of MLflow's build and the one below may run, by their folders. A stored file is in neither folder."""
    scripts = f"{origin}/static-files/ {origin}/secure-mlflow/"
    # Stored texts may show pictures, which are requested in the name of the reader. They must not request /oauth2/sign_out.
    files = f"{origin}/static-files/ {origin}/ajax-api/ {origin}/get-artifact {origin}/model-versions/get-artifact data: blob:"
    return "; ".join([
        "default-src 'none'",
        f"script-src {scripts}",
        f"worker-src {scripts} blob:",
        "style-src 'self' 'unsafe-inline'",  # the page creates styles while it runs
        f"img-src {files}",
        f"media-src {files}",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        f"frame-src {origin}{PREVIEW}",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    ]).encode()


# Its own origin, wherever it is opened: `sandbox` also applies without the attribute of the frame.
PREVIEW_POLICY = (
    b"sandbox allow-scripts; default-src 'unsafe-inline' 'unsafe-eval' https: data: blob:; "
    b"form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)

# MLflow shows an HTML file in a frame, from a `blob:` URL. Such a URL inherits the policy of the page, which blocks the scripts of the file.
# So the frame gets another URL, and the file as a message. Other uses, such as a download, keep the `blob:` URL.
#
# "Logout" in its menu is for MLflow's accounts: it requests the page with a wrong name. Here the session is that of the sign-in proxy.
PAGE_SCRIPT = f"""
(() => {{
  const {{ open }} = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, address, asynchronous, user, ...more) {{
    if (String(user).startsWith('mlflow-logged-out-')) {{
      this.send = () => location.assign(SIGN_OUT_URL);
      return;
    }}
    open.call(this, method, address, asynchronous ?? true, user, ...more);
  }};
  const files = new Map();
  const shown = new Map();
  const {{ createObjectURL, revokeObjectURL }} = URL;
  URL.createObjectURL = object => {{
    const address = createObjectURL.call(URL, object);
    if (object instanceof Blob && /^text\\/html\\b/i.test(object.type)) {{
      files.set(address, object);
    }}
    return address;
  }};
  URL.revokeObjectURL = address => {{
    files.delete(address);
    revokeObjectURL.call(URL, address);
  }};
  const frameAddress = address => {{
    const file = files.get(String(address));
    if (file === undefined) {{
      return address;
    }}
    const name = crypto.randomUUID();
    shown.set(name, file);
    return `{PREVIEW}?${{name}}`;
  }};
  const frame = HTMLIFrameElement.prototype;
  const {{ setAttribute }} = Element.prototype;
  const source = Object.getOwnPropertyDescriptor(frame, 'src');
  frame.setAttribute = function (name, value) {{
    setAttribute.call(this, name, String(name).toLowerCase() === 'src' ? frameAddress(value) : value);
  }};
  Object.defineProperty(frame, 'src', {{ ...source, set(value) {{ source.set.call(this, frameAddress(value)); }} }});
  addEventListener('message', async event => {{
    const file = event.source && event.source !== window && event.source.parent === window && shown.get(event.data);
    if (file) {{
      shown.delete(event.data);
      event.source.postMessage({{ file: await file.text() }}, '*');
    }}
  }});
}})();
""".strip()
# Hides the dialog to change the password of MLflow's accounts, which are not used.
PAGE_STYLE = '#root [data-component-id="account.change_password_button"] { display: none !important }'

PREVIEW_PAGE = b"""<!doctype html>
<meta charset="utf-8">
<script>
addEventListener('message', function show({ source, data }) {
  if (source === parent && typeof data.file === 'string') {
    removeEventListener('message', show);
    document.open();
    document.write(data.file);
    document.close();
  }
});
parent.postMessage(location.search.slice(1), '*');
</script>
"""


# Private: the sign-in proxy adds the address of the person to the headers.
FOR_GOOD = b"private, max-age=31536000, immutable"
ASK_AGAIN = b"private, no-cache"


class Page(NamedTuple):
    content_type: bytes
    body: bytes
    policy: bytes = None  # if it is not that of its path
    cache: bytes = None  # if it may be kept

    @property
    def etag(self):
        return f'"{zlib.crc32(self.body):08x}"'.encode()


# Answered by the door. Pages that depend on MLflow's page and on settings are added at start.
OWN_PAGES = {
    PREVIEW: Page(b"text/html; charset=utf-8", PREVIEW_PAGE, PREVIEW_POLICY),
}


def index_of(static_folder):
    """MLflow's page. Raises if it is not as expected."""
    with open(os.path.join(static_folder, "index.html"), encoding="utf-8") as file:
        index = file.read()
    if index.count("<head>") != 1:
        raise ValueError("index.html has no <head>")
    return index


def adopt(index, sign_out_url):
    """Adds our script to MLflow's page, before its own scripts."""
    script = Page(b"text/javascript; charset=utf-8", PAGE_SCRIPT.replace("SIGN_OUT_URL", json.dumps(sign_out_url)).encode(), cache=ASK_AGAIN)
    address = f"{SCRIPT}?{zlib.crc32(script.body):08x}"
    ours = f'<head><style>{PAGE_STYLE}</style><script src="{address}"></script>'
    # During a deployment a task may be asked for the script of another task. It answers with its own, which is not kept permanently at that URL.
    OWN_PAGES[SCRIPT], OWN_PAGES[address] = script, script._replace(cache=FOR_GOOD)
    OWN_PAGES["/"] = Page(b"text/html; charset=utf-8", index.replace("<head>", ours).encode(), cache=ASK_AGAIN)


REFUSAL_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@lru_cache(maxsize=1)
def refusal_template():
    with open(os.path.join(PAGES, "refused.html"), encoding="utf-8") as file:
        return file.read()


def refusal_page(reason, sign_out_url):
    """For a person who opens a page without access."""
    text = refusal_template().replace("SIGN_OUT_URL", html.escape(sign_out_url)).replace("REASON", html.escape(reason))
    return Page(b"text/html; charset=utf-8", text.encode(), REFUSAL_POLICY)
