"""What strangers send: nothing upsets the relay, and nothing is taken but what an author has signed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from shutil import which
from subprocess import run

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from socialrelay.federation import Ruling, Wish
from tests.fuzzing import counts, examples
from tests.fuzzing.__main__ import BEGINS, ENDS, FILE, PORT
from tests.fuzzing.genuine import CONTACT, ENVELOPES, GENUINE, PAYLOADS, heard, private, signed, taken
from tests.fuzzing.hostile import ENTRANCES, KINDS, hostile_entity, hostile_envelope, hostile_message
from tests.fuzzing.large import cost, large
from tests.fuzzing.parsers import PARSERS, Parser
from tests.fuzzing.tampered import KINDS as TAMPERINGS
from tests.fuzzing.tampered import tampered

NUMBERS = st.integers(0, 3000)
HOSTILE = st.sampled_from(sorted(KINDS))


def tries(few: int, many: int) -> settings:
    """The same ones in each run, unless there is time for all."""
    return settings(
        max_examples=examples(few, many),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


class HostileTests(SynchronousTestCase):
    """Documents that are made to harm or to deceive."""

    def test_unhurt(self) -> None:
        """
        Without what is done to them all of them would be taken: it is that for which they are refused.
        """
        for body in (*ENVELOPES, *map(signed, PAYLOADS)):
            for entrance in ENTRANCES.values():
                if not body.startswith(b"xml="):
                    self.assertIn(taken(entrance(body)), GENUINE)
        self.assertIsInstance(heard(private(signed(CONTACT))), Wish)

    def test_each(self) -> None:
        """
        Each kind is refused at every entrance: as envelope, and as what an attacker signed.
        """
        for kind in KINDS:
            for number in range(7):
                for name, entrance in ENTRANCES.items():
                    self.assertIsNone(taken(entrance(hostile_envelope(kind, number, number))), (kind, number, name))
                self.assertIsNone(taken(hostile_entity(kind, number, number)), (kind, number))

    def test_each_in_private(self) -> None:
        """
        Nor is any heard that is encrypted for the relay.
        """
        for kind in KINDS:
            for inside in (False, True):
                self.assertFalse(isinstance(heard(hostile_message(kind, 3, inside=inside)), Wish), (kind, inside))

    def test_many(self) -> None:
        """
        None of thousands is taken, and none upsets the relay.
        """
        tried = 0

        @tries(400, 10_000)
        @given(HOSTILE, st.none() | HOSTILE, NUMBERS, st.integers(0, 2), st.sampled_from(sorted(ENTRANCES)), st.booleans())
        def refuse(kind: str, inner: str | None, number: int, payload: int, entrance: str, by_author: bool) -> None:
            nonlocal tried
            tried += 1
            body = hostile_entity(kind, number, payload) if by_author else hostile_envelope(kind, number, payload, inner)
            self.assertIsNone(taken(ENTRANCES[entrance](body)))

        refuse()
        self.assertGreaterEqual(tried, examples(400, 10_000))
        counts.note(hostile=tried, kinds=len(KINDS))


class TamperedTests(SynchronousTestCase):
    """Genuine envelopes, changed on the way by who has not the author's key."""

    def test_each(self) -> None:
        """
        After each kind of change what is still taken is what was signed: payload, author, guid, tags.
        """
        for kind in TAMPERINGS:
            for number in range(40):
                body = ENVELOPES[number % len(ENVELOPES)]
                self.assertIn(taken(tampered(body, ((kind, number),))), {None, *GENUINE}, (kind, number))

    def test_many(self) -> None:
        """
        Nor after several of them, in thousands of ways; both what is taken and what is not occurs.
        """
        answers = {True: 0, False: 0}

        @tries(500, 10_000)
        @given(
            st.sampled_from(ENVELOPES),
            st.lists(st.tuples(st.sampled_from(sorted(TAMPERINGS)), st.integers(0, 100_000)), min_size=1, max_size=4).map(tuple),
        )
        def hold(body: bytes, steps: tuple[tuple[str, int], ...]) -> None:
            answer = taken(tampered(body, steps))
            answers[answer is not None] += 1
            self.assertIn(answer, {None, *GENUINE})

        hold()
        self.assertGreaterEqual(sum(answers.values()), examples(500, 10_000))
        self.assertGreater(min(answers.values()), 30, answers)
        counts.note(tampered=sum(answers.values()), changes=len(TAMPERINGS))

    def test_in_private(self) -> None:
        """
        A wish in private is that of who signed it, and no other, whatever became of the envelope inside.
        """
        original = signed(CONTACT)
        genuine = heard(private(original))
        self.assertIsInstance(genuine, Wish)
        for kind in TAMPERINGS:
            for number in range(4):
                answer = heard(private(tampered(original, ((kind, number),))))
                if isinstance(answer, Wish):
                    self.assertEqual(answer, genuine, (kind, number))
                elif answer is not None:
                    self.assertNotIn(answer.ruling, (Ruling.RELAY, Ruling.RETRACT), (kind, number))


class CostTests(SynchronousTestCase):
    """What reading costs, for documents that are mostly one thing, again and again."""

    def test_linear(self) -> None:
        """
        Twice as large a document takes twice as many steps and twice as much memory at most: nobody can make it grow faster.
        """
        for name, parser in PARSERS.items():
            for one, two in zip(large(parser, 3_000), large(parser, 6_000), strict=True):
                less, more = cost(parser.answer, one), cost(parser.answer, two)
                self.assertLessEqual(more.steps, 2.2 * less.steps + 500, (name, one[:60]))
                self.assertLessEqual(more.memory, 2.5 * less.memory + 100_000, (name, one[:60]))
                self.assertLessEqual(more.memory, 1_000_000 + 60 * len(two), (name, one[:60]))


class WatchedTests(SynchronousTestCase):
    """The parsers, in a process that strace watches: Python's own audit hooks do not see what libraries in C do."""

    def test_nothing_opened(self) -> None:
        """
        Whatever the parsers read, they open no file and no socket, take nothing that was not signed, and neither time nor memory without bound.
        """
        strace = which("strace")
        if strace is None:
            raise SkipTest("there is no strace (apt-get install strace)")
        trace = Path(self.mktemp()).absolute()
        watched = [strace, "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(trace), sys.executable, "-m", "tests.fuzzing"]
        done = run(watched, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        self.assertEqual(done.returncode, 0, done.stderr)
        calls = [line.partition(" ")[2].strip() for line in trace.read_text().splitlines()]
        begins, ends = (next(n for n, call in enumerate(calls) if path in call) for path in (BEGINS, ENDS))
        self.assertEqual(calls[begins + 1 : ends], [])
        file, opened, connected = calls[ends + 1 : ends + 4]  # so that nothing seen means nothing done
        self.assertIn(FILE, file)
        self.assertIn("AF_INET", opened)
        self.assertIn(f"htons({PORT})", connected)
        figures = json.loads(done.stdout)
        self.assertGreater(figures["read"], examples(1_000, 20_000))
        self.assertEqual(figures["wrong"], 0)
        counts.note(watched=figures["read"])
        self.assertLess(figures["grown"], examples(32, 200) * 2**20)


CALLS = "?open,openat,?openat2,?creat,socket,connect,?execve"
ROOT = Path(__file__).parent.parent

Edit = tuple[int, int, bytes]


def edited(seed: bytes, edits: list[Edit]) -> bytes:
    """A text with other bytes in places, which are given in thousandths of it."""
    for place, length, piece in edits:
        start = place * len(seed) // 1000
        seed = seed[:start] + piece + seed[start + length :]
    return seed


class ParserTests(SynchronousTestCase):
    """
    Every parser of what strangers send, with noise and with real documents that were edited: it raises what it may raise and nothing else,
    and its answer is in order.
    """

    def fuzz(self, parser: Parser) -> None:
        piece = (
            st.sampled_from(parser.pieces)
            | st.binary(max_size=4)
            | st.builds(lambda one, many: one * many, st.sampled_from(parser.pieces), st.integers(2, 300))
        )
        edits = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 20), piece), max_size=4)
        noise = st.lists(st.sampled_from(parser.pieces) | st.binary(max_size=8), max_size=12).map(b"".join)

        @tries(100, 2_000)
        @given(st.builds(edited, st.sampled_from(parser.seeds), edits) | noise)
        def read(body: bytes) -> None:
            parser.answer(body)

        read()

    def test_seeds(self) -> None:
        """
        Each parser reads some of what its noise is made of.
        """
        for name, parser in PARSERS.items():
            self.assertTrue(sum(parser.answer(seed) for seed in parser.seeds), name)

    def test_hostile(self) -> None:
        """
        What is hostile to one upsets none of the others either.
        """
        bodies = [make(kind, number) for kind in KINDS for make in (hostile_envelope, hostile_entity) for number in (3,)]
        for name, parser in PARSERS.items():
            if name not in ("envelope", "envelope_both_ways", "document", "entity"):
                for body in bodies:
                    parser.answer(body)


def _add(name: str, parser: Parser) -> None:
    def test(self: ParserTests) -> None:
        self.fuzz(parser)

    test.__doc__ = f"\n        Noise does not upset the parser of: {name.replace('_', ' ')}.\n        "
    setattr(ParserTests, f"test_{name}", test)


for _name, _parser in PARSERS.items():
    _add(_name, _parser)
