"""Load that wrk does not make, against 127.0.0.1; prints lines as report.lua does:
RESULT requests microseconds p50 p99 bad failed

    load.py handshakes PORT SECONDS COOKIE CA      a full TLS handshake and one request a connection, four at a time
    load.py messages   PORT SECONDS COOKIE         WebSocket messages of 64 bytes there and back, on 16 connections
    load.py idle       PORT COUNT COOKIE [CA]      COUNT connections that have made one request; says so, then waits
    load.py echo       PORT                        the app's end of the WebSockets
"""

import asyncio
import base64
import hashlib
import os
import socket
import ssl
import sys
import threading
import time

what, port = sys.argv[1], int(sys.argv[2])


def head(path, cookie, extra="", close=False):
    lines = [f"GET {path} HTTP/1.1", f"Host: localhost:{port}"]
    if cookie:
        lines.append(f"Cookie: {cookie}")
    if close:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode()


def result(times, began, bad=0, failed=0):
    took = time.monotonic() - began
    times.sort()
    at = lambda part: int(times[min(len(times) - 1, int(len(times) * part))] * 1e6) if times else 0
    print("RESULT", len(times), int(took * 1e6), at(0.5), at(0.99), bad, failed)


def tls(ca):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def handshakes(seconds, cookie, ca):
    request = head("/private/x" if cookie else "/x", cookie, close=True)
    times, bad, failed = [], [], []
    began = time.monotonic()

    def work():
        context = tls(ca)
        while time.monotonic() - began < seconds:
            start = time.monotonic()
            try:
                # A new connection offers no session: the handshake is a full one.
                with socket.create_connection(("127.0.0.1", port)) as plain:
                    with context.wrap_socket(plain, server_hostname="localhost") as stream:
                        stream.sendall(request)
                        answer = b""
                        while data := stream.recv(65536):
                            answer += data
                (times if b" 200 " in answer[:16] else bad).append(time.monotonic() - start)
            except OSError as error:
                print(error, file=sys.stderr)
                failed.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    result(times, began, len(bad), len(failed))


async def messages(seconds, cookie):
    key = base64.b64encode(os.urandom(16)).decode()
    extra = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nOrigin: http://localhost:{port}\r\n"
    # A masked frame of 64 bytes (RFC 6455, section 5.2); the app sends the same bytes back.
    frame = bytes([0x82, 0x80 | 64]) + os.urandom(4) + os.urandom(64)
    times = []

    async def work():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head("/public/echo", cookie, extra))
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in answer, answer
        while time.monotonic() - began < seconds:
            start = time.monotonic()
            writer.write(frame)
            await reader.readexactly(len(frame))
            times.append(time.monotonic() - start)
        writer.close()

    began = time.monotonic()
    await asyncio.gather(*(work() for _ in range(16)))
    result(times, began)


async def echo():
    async def serve(reader, writer):
        fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        key = next(line.split(":", 1)[1].strip() for line in fields if line.lower().startswith("sec-websocket-key:"))
        # RFC 6455, section 4.2.2: HAProxy looks at it.
        digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n")
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


def idle(count, cookie, ca=None):
    request = head("/private/x" if cookie else "/x", cookie)
    context = tls(ca) if ca else None
    kept = []
    for _ in range(count):
        stream = socket.create_connection(("127.0.0.1", port))
        if context:
            stream = context.wrap_socket(stream, server_hostname="localhost")
        stream.sendall(request)
        answer = stream.recv(65536)
        assert b" 200 " in answer[:16], answer
        kept.append(stream)
    print("ready", flush=True)
    sys.stdin.read()


arguments = sys.argv[3:]
if what == "handshakes":
    handshakes(float(arguments[0]), *arguments[1:])
elif what == "messages":
    asyncio.run(messages(float(arguments[0]), *arguments[1:]))
elif what == "echo":
    asyncio.run(echo())
elif what == "idle":
    idle(int(arguments[0]), *arguments[1:])
else:
    sys.exit(__doc__)
