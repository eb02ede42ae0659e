"""What somebody might run in a container: pages, streams, uploads, downloads and a websocket."""

import base64, hashlib, json, os, socketserver, sys, threading
from http.server import BaseHTTPRequestHandler

PIECE = bytes(range(256)) * 4096  # 1 MiB


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def say(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/big":
            self.send_response(200)
            self.send_header("Content-Length", str(100 * len(PIECE)))
            self.end_headers()
            for _ in range(100):
                self.wfile.write(PIECE)
        elif path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for n in (1, 2):
                text = f"data: {n}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
                self.wfile.flush()
            threading.Event().wait()
        elif path == "/half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            os._exit(3)
        elif path == "/cookies":
            cookies = ["__Host-gradientd=evil; Path=/; Secure", "all=1; Domain=localhost; Path=/", "mine=1; Path=/"]
            self.say(200, b"set", [("Set-Cookie", cookie) for cookie in cookies])
        elif path == "/ws":
            self.websocket()
        else:
            seen = {"port": self.server.server_address[1], "path": self.path, "headers": self.headers.items()}
            self.say(200, json.dumps(seen).encode())

    def do_POST(self):
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            digest.update(piece)
            left -= len(piece)
        self.say(200, digest.hexdigest().encode())

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                return
            mask = self.rfile.read(4)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(head[1] & 127)))
            self.wfile.write(bytes([0x81, len(text)]) + text)
            self.wfile.flush()


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True


servers = [Server(("0.0.0.0", port), App) for port in (8000, 9000)]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
print("serving", flush=True)
