"""A connection to a daemon's peer port that says whatever it is told to say, and the frames to say."""

import contextlib
import socket
import ssl
import struct

from crc32c import crc32c

from protocol import codec
from protocol.frames import Event, Frame, FrameDecoder, FrameType, TrafficClass, encode_frame
from protocol.ids import MeshId, NodeId
from protocol.messages import ErrorHeader, Goodbye, Hello, Request, RequestHeader
from tests.live.small_mesh import Member, Mesh

STRANGER = NodeId("a" * 52)


class Wire:
    """A connection to the daemon's peer port that says whatever it is told to say."""

    def __init__(self, mesh: Mesh, member: Member | None = None, *, greet: bool = True) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if member is not None:
            leaf, key = member.data_dir / "mesh" / "leaf.crt", member.data_dir / "node.key"
            context.load_cert_chain(leaf, key)
        plain = socket.create_connection(mesh["a"].address, timeout=5.0)
        self.socket = context.wrap_socket(plain)
        self.heard: list[Event] = []
        self._decoder = FrameDecoder(lambda stream, nbytes: None)
        if greet:
            ours = None if member is None else MeshId(mesh["a"].client.status()["mesh"])
            self.send(hello(STRANGER if member is None else NodeId(member.id), ours))

    def send(self, data: bytes) -> None:
        """What is sent after the daemon has hung up goes nowhere."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.socket.sendall(data)

    def ask(self, request: Request, stream: int = 1, body_bytes: int = 0) -> ErrorHeader:
        """The daemon's refusal."""
        self.send(req(request, stream, body_bytes))
        frame = self.until(FrameType.ERR)
        assert frame.stream == stream
        return codec.decode(ErrorHeader, frame.header)

    def until(self, kind: FrameType) -> Frame:
        """The next frame of this kind."""
        while True:
            for event in list(self.heard):
                self.heard.remove(event)
                if isinstance(event, Frame) and event.type is kind:
                    return event
            assert self._hear(), f"the daemon hung up before any {kind.name}"

    def reason(self) -> str:
        """Why the daemon hung up, as it told us; empty if it did so without a word."""
        while self._hear():
            pass
        byes = [e for e in self.heard if isinstance(e, Frame) and e.type is FrameType.GOAWAY]
        return codec.decode(Goodbye, byes[0].header).reason if byes else ""

    def close(self) -> None:
        self.socket.close()

    def _hear(self) -> bool:
        """Whether anything came; TimeoutError if the daemon neither speaks nor hangs up."""
        try:
            data = self.socket.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            return False
        rest = memoryview(data)
        while rest:
            into = self._decoder.get_buffer(-1)
            count = min(len(into), len(rest))
            into[:count] = rest[:count]
            self.heard += self._decoder.buffer_updated(count)
            rest = rest[count:]
        return bool(data)


def hello(node: NodeId, mesh: MeshId | None, protocol_min: int = 1) -> bytes:
    greeting = Hello(
        protocol_min=protocol_min, protocol_max=99, software="fuzz", mesh=mesh, node=node
    )
    return frame(FrameType.HELLO, 0, codec.encode(greeting))


def frame(kind: FrameType, stream: int, header: bytes = b"", aux: int = 0) -> bytes:
    return encode_frame(Frame(kind, TrafficClass.RPC, stream, header, aux))


def req(request: Request, stream: int = 1, body_bytes: int = 0) -> bytes:
    header = RequestHeader(request=request, deadline_ms=10_000, body_bytes=body_bytes)
    return frame(FrameType.REQ, stream, codec.encode(header))


def prefix(kind: int, *, flags: int = 0, klass: int = 2, header: int = 0, body: int = 0) -> bytes:
    """A frame's prefix with whatever lengths, and a CRC that fits."""
    checked = struct.pack("<BBBBIIII", 1, kind, flags, klass, 1, header, body, 0)
    return checked + struct.pack("<I", crc32c(checked))
