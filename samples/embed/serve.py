"""A page of another origin that shows one scene in three ways. Run `splatlens serve DIR`, then this beside it.

    python samples/embed/serve.py http://127.0.0.1:8000 NAME [--port 8001]
"""

from __future__ import annotations

import argparse
import html
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).parent
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css"}


def make_server(server: str, scene: str, port: int = 0) -> ThreadingHTTPServer:
    """A server of the sample page on localhost. server: address of the splatlens server; scene: a name it lists."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = HERE / (self.path.lstrip("/") or "index.html")
            if path.parent != HERE or path.suffix not in TYPES or not path.is_file():
                self.send_error(404)
                return
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".html":
                text = text.replace("SERVER", html.escape(server.rstrip("/"))).replace("SCENE", quote(scene))
            self.send_response(200)
            self.send_header("Content-Type", TYPES[path.suffix])
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", help="address of `splatlens serve`")
    parser.add_argument("scene", help="name of a scene it lists")
    parser.add_argument("--port", type=int, default=8001)
    args = parser.parse_args()
    with make_server(args.server, args.scene, args.port) as httpd:
        print(f"http://localhost:{httpd.server_address[1]}/")
        httpd.serve_forever()


if __name__ == "__main__":
    main()
