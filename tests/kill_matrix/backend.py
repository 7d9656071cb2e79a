"""The proxied backend: answers with the request's own body, whole or in pieces. A process of its own,
so that it outlives every kill and does not share the interpreter with the clients."""

import multiprocessing
import socket
import threading

from wire import Broken, Stream


def serve(connection):
    stream = Stream(connection)
    try:
        while True:
            head, body = stream.message()
            if head is None:
                return
            target = head.split(b" ", 2)[1]
            if target.endswith(b"/stream"):
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                step = max(1, len(body) // 4)
                for at in range(0, len(body), step):
                    piece = body[at : at + step]
                    connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                connection.sendall(b"0\r\n\r\n")
            else:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
                    b"content-length: %d\r\n\r\n%s" % (len(body), body)
                )
    except (OSError, Broken):
        pass
    finally:
        connection.close()


def accept(listener):
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


class Backend:
    """Runs until `stop`."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = listener.getsockname()[1]
        self.process = multiprocessing.get_context("fork").Process(target=accept, args=(listener,), daemon=True)
        self.process.start()
        listener.close()

    def stop(self):
        self.process.kill()
        self.process.join()
