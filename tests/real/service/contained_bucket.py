"""A bucket in a container, at http://bucket:9000, for the image's own Python: S3's GET, HEAD and PUT of whole objects.

It checks no signature; what real object storage does is tested in tests/real/shared_cache.
"""

import email.utils
import hashlib
import http.server
import json
import sys

objects = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b"", objects[self.path])

    def do_GET(self):
        found = objects.get(self.path)
        self.answer(404 if found is None else 200, found or b"", found or b"")

    def do_HEAD(self):
        self.do_GET()

    def answer(self, status, body, content):
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        self.send_header("Last-Modified", email.utils.formatdate(usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code="-", size="-"):  # noqa: ARG002
        asked = {"event": "asked", "method": self.command, "path": self.path, "status": code}
        sys.stdout.write(json.dumps(asked) + "\n")  # at once: print() writes the end of the line by itself
        sys.stdout.flush()


with http.server.ThreadingHTTPServer(("0.0.0.0", 9000), Handler) as server:
    sys.stdout.write(json.dumps({"event": "serving"}) + "\n")
    sys.stdout.flush()
    server.serve_forever()
