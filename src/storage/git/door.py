"""Serves the repositories in a directory by git's own HTTP back end, for tests.

Paths with `private` in them want the name and password below; `hang` never answers; a file named
`redirect` sends every request to the origin it holds. Prints the port that it listens on, and notes
each request with its credentials in `requests.log`.
"""
import base64, os, subprocess, sys, threading, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = os.path.realpath(sys.argv[1])
WANTED = "Basic " + base64.b64encode(b"ada:p:a s'\"$x%s").decode()


class Door(BaseHTTPRequestHandler):
    def answer(self):
        given = self.headers.get("Authorization", "-")
        with open(os.path.join(ROOT, "requests.log"), "a") as log:
            log.write(f"{self.path} {given.replace(' ', '_')}\n")
        if "hang" in self.path:
            threading.Event().wait()
        redirect = os.path.join(ROOT, "redirect")
        if os.path.exists(redirect):
            self.send_response(302)
            self.send_header("Location", open(redirect).read() + self.path)
            self.end_headers()
            return
        if "private" in self.path and given != WANTED:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.body()
        env = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": ROOT, "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": urllib.parse.unquote(path), "QUERY_STRING": query, "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "REMOTE_ADDR": "127.0.0.1",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }
        out = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        head, _, payload = out.partition(b"\r\n\r\n")
        lines = [line.partition(":") for line in head.decode().split("\r\n")]
        status = next((value.split()[0] for name, _, value in lines if name == "Status"), "200")
        self.send_response(int(status))
        for name, _, value in lines:
            if name != "Status":
                self.send_header(name, value.strip())
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            whole = b""
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
