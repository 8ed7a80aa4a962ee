"""Looks at pages in Chromium, driven by Node with playwright-core and axe-core, where these are installed."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

DRIVER = Path(__file__).with_name("browser.cjs")
# The folder node_modules with playwright-core and axe-core; .ci/run makes one.
MODULES = "LAWLIB_BROWSER"
PACKAGES = ("playwright-core", "axe-core")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
VIEWS = {"1280 px, light": {"width": 1280, "height": 900}, "390 px, dark": {"width": 390, "height": 844, "dark": True}}


def chromium():
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def missing():
    """Why no page can be looked at here; empty if one can."""
    if not chromium():
        return "Chromium is not installed (apt-get install chromium)"
    if not shutil.which("node"):
        return "Node is not installed (apt-get install nodejs)"
    folder = os.environ.get(MODULES)
    if not folder:
        return f"{MODULES} does not name a folder node_modules with {' and '.join(PACKAGES)}"
    lacks = [name for name in PACKAGES if not (Path(folder) / name / "package.json").exists()]
    return f"{MODULES}={folder} has no {' and no '.join(lacks)}" if lacks else ""


def look(url, **view):
    """What the browser finds on a page; ``view`` has its width and height, and ``dark``."""
    order = {"modules": str(Path(os.environ[MODULES]).resolve()), "chromium": chromium(), "url": url, **view}
    words = ["node", str(DRIVER), json.dumps(order)]
    child = subprocess.run(words, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        # What a browser asks every server for, unless a page names a picture for its tab.
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """The address of a folder, served on this machine alone."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
