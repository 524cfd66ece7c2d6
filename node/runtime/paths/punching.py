"""Brings up a direct path through the NATs of two nodes, while their link runs over a relay.

The side that has opened the link makes an offer, the other one answers; both travel over the link, signed. Then both
knock at each other's addresses at the same time (`nat/ice.py`), and speak QUIC on the way that is found. All this code
is loaded when it is needed first, for it takes 9 MiB and 0.13 s: a node that everybody can dial never does.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

import msgspec

from nat.buckets import Bucket
from nat.candidates import CheckRate, OfferJudge
from nat.ice import IceAttempt, own_networks
from nat.path_keeper import interval_s
from nat.proof import Credentials, agreed_on
from nat.punched import PunchedPath
from nat.quic import open_quic
from node.runtime.credentials import Membership
from node.runtime.paths.arrival import Unattached
from node.runtime.paths.end import PathEnd
from node.runtime.paths.multipath import Multipath
from node.runtime.paths.surroundings import Surroundings
from node.runtime.signatures import Ed25519
from protocol import codec
from protocol.errors import PeerError, SedmaError
from protocol.ids import NodeId, short
from protocol.paths import Candidate, Offer, PathKind, signed_offer_bytes

if TYPE_CHECKING:
    from node.runtime.paths.ways import Ways

PUNCH_S = 2.5
"""From our offer to a path: a pair that has none in that time is left to the relay for now.

The last check of each address goes out after 1.6 s; three seconds after somebody wanted the peer it is known.
"""

ANSWERS_MAX = 16
"""Offers of others that are being answered at once; a further one is not."""

OFFERS_PER_MINUTE = 20.0
"""On one link, by the peer; further ones are not looked at. It means to make one in 3 s at the most."""


@dataclass(slots=True)
class _Talk:
    """What passed between us and one peer on one link."""

    judge: OfferJudge
    offers: Bucket
    number: int = 0
    """Of our latest offer."""
    taken: int = 0
    """The number of the peer's latest offer that was taken."""
    answer: "asyncio.Future[Offer | None] | None" = None
    """To our offer; None comes if that has to be made anew."""
    answering: "asyncio.Task[None] | None" = None


class Puncher:
    """Of one node."""

    def __init__(
        self,
        own: NodeId,
        membership: Membership,
        signatures: Ed25519,
        surroundings: Surroundings,
        ways: "Ways",
        keepalive_s: float | None,
    ) -> None:
        """`keepalive_s`: how often a punched path is used at least; None: as the NATs on our side need it."""
        self._own = own
        self._membership = membership
        self._signatures = signatures
        self._surroundings = surroundings
        self._ways = ways
        self._keepalive_s = keepalive_s
        self._loop = asyncio.get_running_loop()
        self._talks: dict[Multipath, _Talk] = {}
        self._kept: WeakSet[PunchedPath] = WeakSet()
        self._answering = 0
        self._rate = CheckRate(self._loop.time())

    async def punch(self, multipath: Multipath) -> dict[str, Exception]:
        """Attach a punched path to the link; what stood in the way, if none was found."""
        if multipath.is_over:
            return {}
        attempt = self._attempt(multipath.peer, dialled=True)
        try:
            async with asyncio.timeout(PUNCH_S):
                end = await self._ask(multipath, attempt)
        except (SedmaError, OSError) as wrong:
            why = _in_words(wrong, attempt, PUNCH_S)
            self._ways.note("path.not_punched", peer=short(multipath.peer), reason=str(why))
            return {PathKind.PUNCHED: why}
        if multipath.is_over:
            end.abort()
        else:
            self._ways.attach(multipath, end)
        return {}

    def offered(self, multipath: Multipath, by: PathEnd, payload: bytes) -> None:
        """The peer offers to punch, or answers our offer, on this path. PeerError if it may not."""
        offer = codec.decode(Offer, payload)
        talk = self._talk(multipath)
        if offer.answers:
            # One that comes late answers an attempt that is over.
            is_late = offer.number < talk.number
            if talk.answer is not None and not talk.answer.done() and not is_late:
                talk.answer.set_result(offer)
            return
        if self._answering >= ANSWERS_MAX or not talk.offers.take(self._loop.time()):
            return
        if self._surroundings.key_of(multipath.peer) is None:
            # Who it is, is still on its way to us; it offers again.
            return
        if offer.number < talk.taken:
            # The one that was made anew came by a faster path; one that is repeated is another matter.
            return
        here, same_site = self._surroundings.seen_at(), self._same_site(offer)
        nearby = own_networks() if same_site else ()
        candidates = talk.judge.judge(offer, here, nearby)
        talk.taken = offer.number
        if talk.answering is not None:
            talk.answering.cancel()
        answering = self._answer(multipath, by, offer, candidates, same_site=same_site)
        talk.answering = self._ways.own_task(answering)

    def switched(self, multipath: Multipath) -> None:
        """The link runs over another path: the one that our offer was sent on may have been dead already."""
        talk = self._talks.get(multipath)
        if talk is not None and talk.answer is not None and not talk.answer.done():
            talk.answer.set_result(None)

    def nat_known(self) -> None:
        """More was found out about our NAT than when the paths that there are were punched."""
        for way in list(self._kept):
            self._keep(way)

    def over(self, multipath: Multipath) -> None:
        """The link is gone."""
        if (talk := self._talks.pop(multipath, None)) is not None and talk.answering is not None:
            talk.answering.cancel()

    # -- the two sides of an attempt -------------------------------------------------------------------

    async def _ask(self, multipath: Multipath, attempt: IceAttempt) -> PathEnd:
        talk = self._talk(multipath)
        try:
            offer, answer = await self._agree(multipath, attempt, talk)
            nearby = own_networks() if self._same_site(answer) else ()
            theirs = talk.judge.judge(answer, self._surroundings.seen_at(), nearby)
            if not theirs:
                raise PeerError("the peer sees no address at which it could be reached by UDP")
            # Before there is a way: if this failed after that, nobody would close it.
            credentials = self._credentials(multipath.peer, agreed_on(offer, answer))
            way = await attempt.connect(answer.username, answer.password, theirs)
        except BaseException:
            await attempt.close()
            raise
        self._take_over(way, multipath.peer)
        _, end = await open_quic(
            way, credentials, lambda: PathEnd(Unattached(), PathKind.PUNCHED), dialled=True
        )
        return end

    async def _agree(
        self, multipath: Multipath, attempt: IceAttempt, talk: _Talk
    ) -> tuple[Offer, Offer]:
        """Our offer, made anew as often as the link goes over to another path, and the peer's answer to the last."""
        while True:
            talk.number += 1
            offer = await self._offer(multipath, attempt, talk.number, answers=False)
            talk.answer = self._loop.create_future()
            talk.judge.asking(offer.number)
            multipath.send_offer(codec.encode(offer))
            if (answer := await talk.answer) is not None:
                return offer, answer

    async def _answer(
        self,
        multipath: Multipath,
        by: PathEnd,
        offer: Offer,
        candidates: tuple[Candidate, ...],
        *,
        same_site: bool,
    ) -> None:
        self._answering += 1
        attempt = self._attempt(multipath.peer, dialled=False, same_site=same_site)
        try:
            async with asyncio.timeout(2 * PUNCH_S):
                try:
                    answer = await self._offer(multipath, attempt, offer.number, answers=True)
                    multipath.answer_offer(codec.encode(answer), by)
                    credentials = self._credentials(multipath.peer, agreed_on(offer, answer))
                    way = await attempt.connect(offer.username, offer.password, candidates)
                except BaseException:
                    await attempt.close()
                    raise
                self._take_over(way, multipath.peer)
                peer = multipath.peer
                await open_quic(
                    way,
                    credentials,
                    lambda: self._ways.arrival(peer, PathKind.PUNCHED),
                    dialled=False,
                )
        except (SedmaError, OSError) as wrong:
            why = _in_words(wrong, attempt, 2 * PUNCH_S)
            self._ways.note("path.not_punched", peer=short(multipath.peer), reason=str(why))
        finally:
            self._answering -= 1

    async def _offer(
        self, multipath: Multipath, attempt: IceAttempt, number: int, *, answers: bool
    ) -> Offer:
        offer = Offer(
            link=multipath.link_id,
            number=number,
            answers=answers,
            username=attempt.username,
            password=attempt.password,
            candidates=await attempt.gather(),
        )
        said = signed_offer_bytes(offer, self._own, multipath.peer)
        return msgspec.structs.replace(offer, signature=self._signatures.sign(said))

    # -- within ----------------------------------------------------------------------------------------

    def _attempt(self, peer: NodeId, *, dialled: bool, same_site: bool = False) -> IceAttempt:
        """Whoever asks does not know where the other side is; what is answered he knocks at, and is known by that."""
        return IceAttempt(
            dialled=dialled,
            rate=self._rate,
            peer=peer,
            servers=self._surroundings.stun_servers(),
            same_site=same_site,
        )

    def _take_over(self, way: PunchedPath, peer: NodeId) -> None:
        way.on_packet = partial(self._ways.packet_punched, peer)
        self._keep(way)

    def _keep(self, way: PunchedPath) -> None:
        self._kept.add(way)
        way.keepalive(interval_s(self._keepalive_s, self._surroundings.keepalive_s()))

    def _talk(self, multipath: Multipath) -> _Talk:
        if (talk := self._talks.get(multipath)) is not None:
            return talk
        peer = multipath.peer

        def verifies(data: bytes, signature: bytes) -> bool:
            key = self._surroundings.key_of(peer)
            return key is not None and self._signatures.verifies(key, data, signature)

        judge = OfferJudge(self._own, peer, multipath.link_id, verifies)
        talk = self._talks[multipath] = _Talk(
            judge, Bucket(OFFERS_PER_MINUTE, 60.0, self._loop.time())
        )
        return talk

    def _same_site(self, offer: Offer) -> bool:
        """Both are seen from outside at one address, as the peer says: then private ones may lead somewhere."""
        here = {endpoint.host for endpoint in self._surroundings.seen_at()}
        return any(one.kind == "srflx" and one.host in here for one in offer.candidates)

    def _credentials(self, peer: NodeId, agreement: bytes) -> Credentials:
        membership = self._membership
        return Credentials(
            own=self._own,
            peer=peer,
            chain_pem=membership.chain_file.read_bytes(),
            key_pem=membership.key.read_bytes(),
            ca_pem=membership.ca_file.read_bytes(),
            agreement=agreement,
            sign=self._signatures.sign,
            verifies=self._signatures.verifies,
        )


def _in_words(wrong: SedmaError | OSError, attempt: IceAttempt, within_s: float) -> Exception:
    """A timeout is an OSError, and says nothing by itself."""
    if not isinstance(wrong, TimeoutError):
        return wrong
    return TimeoutError(
        f"no way through the NATs of both sides within {within_s:g} s{attempt.troubles}"
    )
