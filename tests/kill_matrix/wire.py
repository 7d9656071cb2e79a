"""Just enough HTTP/1.1 to know exactly when the last byte of a message has come."""


class Broken(Exception):
    """The connection ended inside a message."""


class Stream:
    """Reads messages from a socket."""

    def __init__(self, connection):
        self.connection = connection
        self.buffer = bytearray()

    def message(self):
        """Head and body of the next message, chunked or with a length; (None, b"") at the end."""
        end = self.buffer.find(b"\r\n\r\n")
        while end < 0:
            if not self._fill():
                if self.buffer:
                    raise Broken
                return None, b""
            end = self.buffer.find(b"\r\n\r\n")
        head = self._take(end + 4)[:-4]
        lower = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lower:
            return head, self._chunks()
        at = lower.find(b"\r\ncontent-length: ")
        if at < 0:
            return head, b""
        return head, self._take(int(lower[at + 18 :].split(b"\r\n", 1)[0]))

    def _chunks(self):
        body = bytearray()
        while True:
            while (end := self.buffer.find(b"\r\n")) < 0:
                self._need()
            size = int(self._take(end + 2)[:-2], 16)
            piece = self._take(size + 2)[:-2]
            if size == 0:
                return bytes(body)
            body += piece

    def _take(self, count):
        while len(self.buffer) < count:
            self._need()
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def _need(self):
        if not self._fill():
            raise Broken

    def _fill(self):
        piece = self.connection.recv(65536)
        self.buffer += piece
        return len(piece) > 0


def header(head, name):
    """The value of a header, lower-case name as bytes; None where there is none."""
    lower = head.lower()
    at = lower.find(b"\r\n" + name + b": ")
    if at < 0:
        return None
    start = at + len(name) + 4
    return head[start:].split(b"\r\n", 1)[0].decode()
