"""TLS 1.3 between nodes, and plain words for what goes wrong with it.

Members prove themselves to each other by leaves that chain to the mesh's CA. A stranger without a
certificate may connect, for it may come to join; it is told apart by `peer_id` being None. A joiner
trusts exactly the CA in its ticket, so there is no handshake that leaves anybody unproven.

In TLS 1.3 the dialler finishes its handshake before the listener has judged its certificate: the
rejection reaches it as an alert at its first read.
"""

import errno
import socket
import ssl

from node.runtime import der
from node.runtime.credentials import Membership
from protocol.errors import ConfigError, PeerError
from protocol.ids import NodeId, node_id
from protocol.ticket import Ticket


def server_context(membership: Membership, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """For listening: members and strangers come in, those of another mesh do not."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    # Every connection is verified in full: a resumed session would outlive a ban or an expiry.
    context.num_tickets = 0
    context.set_alpn_protocols(list(alpn))
    _load(context, membership)
    return context


def client_context(membership: Membership, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """For dialling as a member, to speak one of these protocols; without any, a bare link."""
    context = _client()
    context.set_alpn_protocols(list(alpn))
    _load(context, membership)
    return context


def joining_context(ticket: Ticket) -> ssl.SSLContext:
    """For dialling with a ticket in hand, as a stranger who trusts the ticket's CA alone."""
    context = _client()
    try:
        context.load_verify_locations(cadata=ticket.ca)
    except ssl.SSLError as wrong:
        raise ConfigError(
            "the ticket's CA certificate cannot be read: mint a new ticket with `sedma-node ticket`"
        ) from wrong
    return context


def peer_id(connection: ssl.SSLObject | ssl.SSLSocket) -> NodeId | None:
    """Who is at the other end after a handshake, or None for a stranger without a certificate.

    The id is the hash of the very key that the handshake has proven, not a name that a signer wrote
    next to it. PeerError for a certificate that no node of ours would carry.
    """
    assert connection.context.verify_mode != ssl.CERT_NONE
    certificate = connection.getpeercert(binary_form=True)
    if certificate is None:
        return None
    try:
        return node_id(der.read_certificate(certificate).public_key)
    except ValueError as wrong:
        raise PeerError(f"the peer's certificate: {wrong}") from wrong


def _client() -> ssl.SSLContext:
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    # Nodes move between addresses: whom we reached is told by `peer_id`, not by a host name.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def _load(context: ssl.SSLContext, membership: Membership) -> None:
    try:
        context.load_cert_chain(membership.chain_file, membership.key)
        context.load_verify_locations(membership.ca_file)
    except (ssl.SSLError, OSError) as wrong:
        raise ConfigError(
            f"the certificates in {membership.folder} cannot be used with {membership.key} "
            f"({wrong}): restore the files of one node, or remove that folder and join again"
        ) from wrong


# -- what went wrong ---------------------------------------------------------------------------------

OTHER_MESH = (
    "the node at {address} belongs to another mesh: check the address, or join its mesh with a "
    "ticket from there"
)
WE_ARE_OTHERS = (
    "the node at {address} does not accept us, for our certificate is of another mesh than its: "
    "check the address, or join its mesh with a ticket from there"
)
NOT_TLS = (
    "what answers at {address} does not speak TLS: check host and port (peers listen on 7879 "
    "unless told otherwise; 7878 is the HTTP side)"
)
TOO_OLD = "the node at {address} does not speak TLS 1.3: update it, or check the address"
CUT_OFF = (
    "the node at {address} hung up during the handshake: it may be shutting down or overloaded, or "
    "no node at all"
)

JUDGED_BY_US = {
    9: "the certificate of the node at {address} is not valid yet: this machine's clock is behind, "
    "or that node's mesh was founded with its clock ahead",
    10: "the certificate of the node at {address} has expired: join that node again with a fresh "
    "ticket, or set this machine's clock if it is ahead",
}
"""By OpenSSL's verify code (X509_V_ERR_*); every other code means a signer whom we do not know."""

SAID_BY_SSL = {
    "TLSV1_ALERT_UNKNOWN_CA": WE_ARE_OTHERS,
    "TLSV1_ALERT_DECRYPT_ERROR": WE_ARE_OTHERS,
    "TLSV1_ALERT_BAD_CERTIFICATE": WE_ARE_OTHERS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the node at {address} finds our certificate expired: join "
    "again with a fresh ticket (`sedma-node up --join TICKET`), or set its clock if it is ahead",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the node at {address} finds our certificate not valid yet or "
    "damaged: its clock may be behind; set the clocks of both machines",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": WE_ARE_OTHERS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the node at {address} wants a certificate and we have "
    "none: join its mesh with a ticket",
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "RECORD_LAYER_FAILURE": NOT_TLS,
    "HTTP_REQUEST": NOT_TLS,
    "HTTPS_PROXY_REQUEST": NOT_TLS,
    "UNSUPPORTED_PROTOCOL": TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": TOO_OLD,
    "UNEXPECTED_EOF_WHILE_READING": CUT_OFF,
}
"""By OpenSSL's reason: alerts are what the other side says of us, the rest what we see of it."""

SAID_BY_THE_SYSTEM = {
    errno.ECONNREFUSED: "nothing listens at {address}: start the node there, or check the port",
    errno.ECONNRESET: CUT_OFF,
    errno.EPIPE: CUT_OFF,
    errno.ETIMEDOUT: "no answer from {address}: it may be off, or a firewall or router is between",
    errno.EHOSTUNREACH: "no way to {address}: this machine's network does not reach that host",
    errno.ENETUNREACH: "no way to {address}: this machine has no network that leads there",
}


def explain(error: OSError, address: str) -> str:
    """A sentence that says which side fails and what to do; `ssl.SSLError` is an OSError too."""
    # Not str.format: what the system said may hold braces.
    return _template(error).replace("{address}", address)


def _template(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return JUDGED_BY_US.get(error.verify_code, OTHER_MESH)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return CUT_OFF
        case ssl.SSLError():
            # Errors that Python raises itself, not OpenSSL, have no reason.
            reason: str = getattr(error, "reason", None) or str(error)
            return SAID_BY_SSL.get(reason, f"the TLS handshake with {{address}} failed: {reason}")
        case socket.gaierror():
            return "the host in {address} has no address: check its spelling and the name server"
        case TimeoutError():
            return SAID_BY_THE_SYSTEM[errno.ETIMEDOUT]
        case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            return CUT_OFF
        case _:
            said = error.strerror or str(error)
            return SAID_BY_THE_SYSTEM.get(error.errno or 0, f"{{address}}: {said}")
