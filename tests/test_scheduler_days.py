"""Years of a relay's life in seconds: nodes of many characters, and what holds of the scheduler all the while."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import timedelta
from heapq import heappop, heappush
from itertools import count
from random import Random

from attrs import define, field, frozen
from twisted.trial.unittest import SynchronousTestCase

from socialrelay.scheduler.backoff import DAY, HOST_STEPS, HOUR
from socialrelay.scheduler.breaker import POST_RETRY, WAKE_PAUSE
from socialrelay.scheduler.destination import AHEAD_MAX, DOUBTS_MAX, Destination
from socialrelay.scheduler.orders import Attempt, Limits, What
from socialrelay.scheduler.outcome import Answer, Effect, NoAnswer, Reply, Trouble, judge
from socialrelay.scheduler.reader import CATCH_UP, LOADS, QUEUE_MAX, STRETCHES_MAX
from socialrelay.scheduler.reckoning import DEFERRED_POSTS_MAX
from tests.scheduling import BROKEN, OK, REFUSED, START, World

SEEDS = 44
DAYS = 40
WELL_DAYS = 9
"""In which all is well again, longer than the queue lifetime."""
ATTEMPTS_A_WEEK = 25

MUTE = NoAnswer(Trouble.TIMEOUT)


@frozen
class Character:
    """
    How a node is.

    @ivar reply: what it answers at a time (seconds since the beginning) to a position; C{None}: not in time.
    @ivar takes: seconds until it answers.
    """

    reply: Callable[[float, int], Reply]
    takes: float = 0.2


def by_hours(good: float, bad: float, reply: Reply) -> Callable[[float, int], Reply]:
    """It is well for so many hours, then not, and again."""
    return lambda now, position: OK if now / HOUR % (good + bad) < good else reply


def now_and_then(every: int, reply: Reply) -> Callable[[float, int], Reply]:
    """It has something against one post in so many."""
    return lambda now, position: reply if position % every == every // 2 else OK


CHARACTERS = {
    "well": Character(lambda now, position: OK),
    "slow": Character(lambda now, position: OK, takes=9.0),
    "flapping": Character(by_hours(5, 3, REFUSED)),
    "nightly": Character(by_hours(16, 8, MUTE), takes=1.0),
    "holidays": Character(by_hours(60, 80, REFUSED)),
    "long away": Character(by_hours(200, 300, MUTE)),
    "dead": Character(lambda now, position: REFUSED),
    "hanging": Character(lambda now, position: MUTE),
    "refusing": Character(now_and_then(5, Answer(403))),
    "picky": Character(now_and_then(4, Answer(400))),
    "poisoned": Character(now_and_then(7, BROKEN)),
    "moving": Character(by_hours(100, 70, Answer(301, location="https://new.example/"))),
    "leaving": Character(by_hours(150, 90, Answer(410))),
    "busy": Character(by_hours(6, 2, Answer(429, retry_after=2 * HOUR)), takes=2.0),
    "broken": Character(by_hours(90, 50, Answer(502))),
}
NAMES = list(CHARACTERS)
LIFELESS = ("dead", "hanging")


@define
class Life:
    """
    A world in which time passes and things happen by chance.

    @ivar crashes: processes die without writing down how far they had come.
    @ivar answers: (monotonic seconds at which it comes, tie, attempt, answer), a heap.
    @ivar earliest: host -> when it may be tried again, as far as its answers say.
    @ivar post_earliest: the same for posts that are tried on their own.
    @ivar failures: host -> failures in a row, and when the last was.
    @ivar reached: position -> numbers of those who may have it.
    @ivar forgotten: number -> up to where it gets nothing, since it was subscribed again.
    @ivar begun: host -> when attempts were begun.
    @ivar arrivals: (host, position, monotonic seconds).
    """

    case: SynchronousTestCase
    seed: int
    nodes: list[str]
    limits: Limits
    spread: float = 0.0
    crashes: bool = False
    restarts: bool = False
    mishaps: bool = True
    world: World = field(init=False)
    chance: Random = field(init=False)
    answers: list[tuple[float, int, Attempt, Reply]] = field(factory=list)
    ties: count[int] = field(factory=count)
    well: bool = False
    earliest: defaultdict[str, float] = field(factory=lambda: defaultdict(float))
    post_earliest: dict[tuple[str, int], float] = field(factory=dict)
    failures: dict[str, tuple[int, float]] = field(factory=dict)
    woken: dict[str, float] = field(factory=dict)
    reached: defaultdict[int, set[int]] = field(factory=lambda: defaultdict(set))
    forgotten: defaultdict[int, int] = field(factory=lambda: defaultdict(int))
    begun: defaultdict[str, list[float]] = field(factory=lambda: defaultdict(list))
    arrivals: list[tuple[str, int, float]] = field(factory=list)
    events_seen: int = 0
    died: int = 0
    requeued: int = 0

    def __attrs_post_init__(self) -> None:
        self.chance = Random(self.seed)
        self.world = World(limits=self.limits, spread=self.spread, at_once=2)
        self.world.subscribe(*range(len(self.nodes)))

    @property
    def now(self) -> float:
        """Monotonic seconds."""
        return self.world.now.seconds

    @property
    def days(self) -> float:
        """How long it has been going on."""
        return (self.now - START.seconds) / DAY

    # Time

    def pass_time(self, seconds: float) -> None:
        """What is due happens when it is due."""
        until = self.now + seconds
        while True:
            self.begin()
            wake = self.world.manager.next_wake()
            times = [until, *([wake] if wake is not None else []), *([self.answers[0][0]] if self.answers else [])]
            self.world.now = self.world.now.later(max(min(times) - self.now, 0.0))
            self.answer()
            if self.now >= until:
                return

    def begin(self) -> None:
        """What the manager wants is begun; whether it may be is looked at."""
        for attempt in self.world.begin():
            self.judge_begin(attempt)
            reply, takes = self.reply(attempt), CHARACTERS[self.nodes[attempt.destination.number]].takes
            takes = attempt.timeout if reply is MUTE else min(takes, attempt.timeout)
            heappush(self.answers, (self.now + takes, next(self.ties), attempt, reply))

    def reply(self, attempt: Attempt) -> Reply:
        """What comes back."""
        if self.well:
            return OK
        return CHARACTERS[self.nodes[attempt.destination.number]].reply(self.now - START.seconds, attempt.entry.position)

    def answer(self) -> None:
        """Answers that are due come in."""
        while self.answers and self.answers[0][0] <= self.now:
            *_, attempt, reply = heappop(self.answers)
            self.note_answer(attempt, reply)
            self.world.answer(attempt, reply)
        for event in self.world.events[self.events_seen :]:
            if event.what is What.GONE:
                number = int(event.host[len("node-") : -len(".example")])
                if self.world.stored[number].subscribed:
                    self.world.unsubscribe(number)
        self.events_seen = len(self.world.events)

    # What may be begun

    def judge_begin(self, attempt: Attempt) -> None:
        """No post goes out to whom it does not name, when it is not due, or when it is too old; nor too much at once."""
        destination, position = attempt.destination, attempt.entry.position
        host = destination.host.name
        entry, recipients = self.world.log[position - 1]
        self.case.assertIn(destination.number, recipients)
        self.case.assertTrue(destination.subscribed and not entry.cancelled)
        self.case.assertGreater(position, self.forgotten[destination.number])
        self.case.assertLessEqual(self.world.now.wall - entry.published_at, timedelta(seconds=self.limits.lifetime + HOUR))
        self.case.assertGreaterEqual(self.now, self.earliest[host] - 0.001)
        self.case.assertGreaterEqual(self.now, self.post_earliest.get((host, position), 0.0) - 0.001)
        self.case.assertLessEqual(destination.host.in_flight, 1 if attempt.probe else self.limits.window)
        self.case.assertTrue(1 <= destination.host.feedback.width <= self.limits.window)
        self.case.assertLessEqual(self.world.manager.in_flight, self.limits.in_flight)
        self.case.assertLessEqual(sum(each.probe for each in self.world.under_way), self.limits.probes)
        self.case.assertLessEqual(sum(each.late for each in self.world.under_way), self.limits.late)
        authors = [each.author for each in destination.in_flight.values()]
        self.case.assertEqual(len(authors), len(set(authors)))
        self.begun[host].append(self.now)

    def note_answer(self, attempt: Attempt, reply: Reply) -> None:
        """When this host, or this post, may be tried again at the earliest."""
        destination, position = attempt.destination, attempt.entry.position
        host, judgement = destination.host.name, judge(reply)
        if judgement.effect is Effect.DELIVERED:
            self.arrivals.append((host, position, self.now))
        if judgement.perhaps or judgement.effect in (Effect.DELIVERED, Effect.BOUNCED, Effect.POST_LATER):
            self.reached[position].add(destination.number)
        if judgement.effect in (Effect.DELIVERED, Effect.BOUNCED, Effect.POST_LATER):
            self.failures.pop(host, None)
            self.earliest[host] = 0.0
            if judgement.effect is Effect.POST_LATER:
                self.post_earliest[host, position] = self.now + POST_RETRY
            return
        if position in destination.deferred and judgement.answered and not attempt.probe:
            return  # it alone waits
        failures, last = self.failures.get(host, (0, 0.0))
        if failures and attempt.begun <= last:
            return
        self.failures[host] = failures + 1, self.now
        step = HOST_STEPS[min(failures, len(HOST_STEPS) - 1)]
        self.earliest[host] = self.now + max(step, judgement.wait or 0.0)

    # What happens

    def live(self, days: int) -> None:
        """So many days."""
        for hour in range(days * 24):
            self.posts()
            if self.mishaps:
                for chance, mishap in (
                    (0.015, self.toggle_storage),
                    (0.02, self.change_subscription),
                    (0.01, self.suspend_or_resume),
                    (0.04, self.take_back),
                    (0.03, self.sign_of_life),
                    (0.03, self.requeue),
                    (0.01, self.restart),
                ):
                    if self.chance.random() < chance:
                        mishap()
            self.pass_time(HOUR)
            self.world.save()
            if hour % 6 == 0:
                self.world.manager.expire(self.too_old())
                self.world.manager.refresh()
                self.world.save()
                self.check_bounds()

    def too_old(self) -> int:
        """The last position that is older than the queue lifetime."""
        oldest = self.world.now.wall - timedelta(seconds=self.limits.lifetime)
        return bisect_left(self.world.log, oldest, key=lambda each: each[0].published_at)

    def posts(self) -> None:
        """What is posted in an hour: mostly nothing or one post, now and then twenty."""
        for _ in range(self.chance.choice([0, 0, 0, 1, 1, 2]) if self.chance.random() > 0.01 else 20):
            subscribed = [number for number, found in self.world.stored.items() if found.subscribed]
            recipients = [number for number in subscribed if self.chance.random() < 0.7]
            self.world.post(recipients, author=f"author{self.chance.randrange(6)}@pod.example")

    def toggle_storage(self) -> None:
        """Storage is lost or found; lost for a while, for which there are no posts either, but what is under way goes on."""
        self.world.storage = False
        self.pass_time(self.chance.choice([20.0, 300.0]))
        self.world.save()
        self.world.storage = True

    def change_subscription(self) -> None:
        """Somebody leaves, or comes back; not the lifeless: who subscribes is tried at once."""
        number = self.chance.randrange(len(self.nodes))
        if self.nodes[number] in LIFELESS:
            return
        if self.world.stored[number].subscribed:
            self.world.unsubscribe(number)
            return
        self.forgotten[number] = len(self.world.log)
        self.reset(f"node-{number}.example")
        self.world.subscribe(number)

    def reset(self, host: str) -> None:
        """Nothing is known of it."""
        self.failures.pop(host, None)
        self.earliest[host] = 0.0

    def suspend_or_resume(self) -> None:
        """The operator holds somebody back for a while."""
        number = self.chance.randrange(len(self.nodes))
        host = f"node-{number}.example"
        if self.nodes[number] in LIFELESS:
            return
        self.world.manager.suspend(host)
        self.pass_time(self.chance.choice([60.0, 30 * HOUR]))
        self.reset(host)
        self.world.manager.resume(host, self.world.now)

    def sign_of_life(self) -> None:
        """A node that is deferred posts something; not one that is lifeless."""
        number = self.chance.randrange(len(self.nodes))
        host = f"node-{number}.example"
        if self.nodes[number] in LIFELESS or self.now - self.woken.get(host, 0.0) < WAKE_PAUSE:
            return
        self.woken[host] = self.now
        self.earliest[host] = 0.0
        self.world.manager.wake(host, self.world.now, reopen=self.chance.random() < 0.5)
        self.begin()
        self.world.save()

    def requeue(self) -> None:
        """The operator has posts that bounced at somebody tried once more, some of them twice."""
        bounced = [key for key in self.world.bounces if key[1] > self.forgotten[key[0]]]
        for number, position in self.chance.choices(bounced, k=3) if bounced else ():
            refused = self.world.requeue(number, position)
            if refused:
                continue
            self.requeued += 1
            self.post_earliest.pop((f"node-{number}.example", position), None)
            self.case.assertNotEqual(self.world.requeue(number, position), "")

    def take_back(self) -> None:
        """An author takes back one of the last posts: who may have it is told, and nobody else gets it."""
        position = self.chance.randrange(max(len(self.world.log) - 30, 0), len(self.world.log)) + 1 if self.world.log else 0
        if not position or self.world.log[position - 1][0].cancelled:
            return
        concerned = self.world.manager.hold(position, self.world.log[position - 1][1])
        if self.chance.random() < 0.2:
            self.pass_time(60.0)
            self.world.manager.release(position, self.world.now)
            return
        self.note_under_way()
        wanted = {destination.number for destination in self.world.manager.all() if destination.wanted}
        current = {number for number in self.reached[position] if self.forgotten[number] < position}
        self.case.assertEqual(current & wanted - concerned, set())
        self.world.cancel(position)
        self.world.post(concerned, author=self.world.log[position - 1][0].author)

    def note_under_way(self) -> None:
        """What is under way may have arrived."""
        for attempt in self.world.under_way:
            self.reached[attempt.entry.position].add(attempt.destination.number)

    def restart(self) -> None:
        """The process ends, or dies."""
        if not (self.restarts or self.crashes):
            return
        self.begin()  # so that what was reported was heard
        self.note_under_way()
        if self.crashes and self.chance.random() < 0.5:
            self.died += 1
            self.failures.clear()
            self.earliest.clear()
            self.post_earliest.clear()
        else:
            self.world.save()
        for number in range(len(self.nodes)):
            if not self.world.stored[number].subscribed:
                self.forgotten[number] = len(self.world.log)
        self.answers.clear()
        self.world.crash()
        self.woken.clear()

    def all_well(self) -> None:
        """From now on nothing fails any more."""
        self.well = True
        self.mishaps = False
        for number in range(len(self.nodes)):
            self.world.manager.resume(f"node-{number}.example", self.world.now)
            self.reset(f"node-{number}.example")
        self.live(WELL_DAYS)

    # What holds

    def check_bounds(self) -> None:
        """Memory is bounded: by the number of destinations, of posts that are tried on their own, and of what may be under way."""
        manager, reading, journal = self.world.manager, self.world.manager._reader, self.world.manager._journal
        destinations = list(manager.all())
        nodes, alone = len(destinations), sum(len(each.deferred) for each in destinations)
        at_most = self.case.assertLessEqual
        for each in destinations:
            self.check_destination(each)
        at_most(len(manager._alarms), 4 * nodes + 2 * alone)
        turns = [*manager._turns._new, *manager._turns._late, manager._turns._probes]
        at_most(sum(len(waiting) for waiting in turns), nodes)
        at_most(len(reading._to_load) + len(reading._to_probe), 2 * nodes)
        at_most(len(reading._singles), alone)
        at_most(len(reading._holding), self.limits.catching_up + self.limits.probes)
        at_most(len(reading._abandons) + len(reading._uncounted), nodes * (STRETCHES_MAX + 1))
        at_most(max(reading._loading, reading._counting), LOADS)
        at_most(len(manager._held), 1)
        at_most(len(manager._bodies), self.limits.in_flight)
        at_most(len(manager._too_big), nodes)
        at_most(len(manager._pacer), manager._pacer.limit)
        at_most(max(len(journal._changed), len(journal._lazy), len(journal._due), len(journal._busy)), nodes)
        at_most(len(journal._gaps), 0)
        at_most(len(journal._deferred) + len(journal._over) + len(journal._bounces), 0)
        at_most(len(manager._breaker.events) + len(manager._ledger.settlements), nodes)

    def check_destination(self, destination: Destination) -> None:
        """What one destination holds."""
        at_most = self.case.assertLessEqual
        at_most(len(destination.queue), CATCH_UP + QUEUE_MAX)
        at_most(len(destination.retries), len(destination.deferred))
        at_most(len(destination.deferred), DEFERRED_POSTS_MAX + self.limits.window)
        at_most(len(destination.suspects), DEFERRED_POSTS_MAX + 1)
        at_most(len(destination.doubtful), DOUBTS_MAX)
        at_most(len(destination.ahead), AHEAD_MAX + CATCH_UP)
        at_most(len(destination.missed), STRETCHES_MAX)
        at_most(sum(len(stretch.waiting) for stretch in destination.missed), CATCH_UP)

    def check_end(self) -> None:
        """Every post is settled wherever it was to go, and nothing is left anywhere."""
        world, over = self.world, self.over()
        for destination in world.manager.all():
            number, host = destination.number, destination.host.name
            left = [
                entry.position
                for entry, recipients in world.log[self.forgotten[number] :]
                if number in recipients and (host, entry.position) not in over and not entry.cancelled
            ]
            self.case.assertEqual(left if destination.subscribed else [], [], f"{host}, {self.nodes[number]}, seed {self.seed}")
            self.case.assertTrue(destination.following)
            self.case.assertEqual((destination.missed, destination.deferred, destination.queue), ((), {}, []))
        if not self.died:
            self.case.assertEqual(len(world.arrived), len(set(world.arrived)))
        if not (self.crashes or self.restarts):
            for number in range(len(self.nodes)):
                self.case.assertEqual(world.accounted(number), world.named(number))
        self.case.assertEqual((world.manager.in_flight, world.manager._reader._holding, world.manager._too_big), (0, {}, {}))
        self.check_lifeless()

    def over(self) -> set[tuple[str, int]]:
        """(host, position) of all that is over, by what was reported."""
        over = set(self.world.arrived)
        for settled in self.world.settled:
            over.add((settled.host, settled.position))
        for gap in self.world.gaps:
            over |= {(f"node-{gap.destination}.example", position) for position in range(gap.after + 1, gap.upto + 1)}
        return over

    def check_lifeless(self) -> None:
        """Who is dead is not bothered."""
        end_of_life = START.seconds + (self.days - WELL_DAYS) * DAY
        for number, character in enumerate(self.nodes):
            if character in LIFELESS:
                recent: deque[float] = deque()
                for moment in self.begun[f"node-{number}.example"]:
                    recent.append(moment)
                    while recent[0] < moment - 7 * DAY:
                        recent.popleft()
                    if moment < end_of_life:
                        self.case.assertLessEqual(len(recent), ATTEMPTS_A_WEEK + 2 * self.died)


class DaysTests(SynchronousTestCase):
    def test_thousands_of_days(self) -> None:
        """
        Through two thousand days of nodes that are slow, flapping, away for days, dead, moved, gone, that refuse posts or choke on some, of
        restarts, crashes, storage that is away, subscriptions that change, posts that are taken back and operators who hold nodes back, or
        have posts tried once more that bounced: no
        post goes to whom it does not name, before it is due, or when it is too old; windows and what is under way stay within their bounds,
        and so does all that is held in memory; a dead host is tried 25 times a week at most; who may have a post that is taken back is told.
        When all is well again every post is delivered, bounced, expired or cancelled wherever it was to go, and nothing is pending.
        """
        days, requeued = 0.0, 0
        for seed in range(SEEDS):
            chance = Random(seed)
            life = Life(
                self,
                seed,
                chance.sample(NAMES, 6),
                Limits(
                    window=chance.choice([1, 2, 5]),
                    in_flight=8,
                    probes=2,
                    late=4,
                    body_bytes=chance.choice([250, 10_000]),
                    newest_beyond=chance.choice([float("inf"), 10]),
                    catching_up=2,
                ),
                spread=chance.choice([0.0, 30.0]),
                restarts=seed % 3 > 0,
                crashes=seed % 3 > 1,
            )
            life.live(DAYS)
            life.all_well()
            life.check_end()
            days += life.days
            requeued += life.requeued
        self.assertGreaterEqual(days, 2000)
        self.assertGreater(requeued, 200)

    def test_the_dead_are_not_felt(self) -> None:
        """To the second, who is alive gets each post when he would have got it if the fifty dead and hanging ones were not there."""
        arrivals = []
        for dead in (0, 50):
            nodes = ["well", "slow", "flapping", "busy", *(LIFELESS[number % 2] for number in range(dead))]
            life = Life(self, 1, nodes, Limits(in_flight=128, probes=4, catching_up=4), mishaps=False)
            for hour in range(20 * 24):
                chance = Random(hour)
                for _ in range(chance.choice([0, 1, 1, 12])):
                    living = [number for number in range(4) if chance.random() < 0.8]
                    life.world.post([*living, *range(4, 4 + dead)], author=f"author{chance.randrange(6)}@pod.example")
                    life.pass_time(1.0)
                life.pass_time(HOUR)
            arrivals.append(life.arrivals)
        self.assertGreater(len(arrivals[0]), 1000)
        self.assertEqual(*arrivals)
