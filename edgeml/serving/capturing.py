"""What the operator lets a serving process keep of its traffic: off until he says otherwise, and as he says now.

1. A request takes the number of its records off ``sampler.left``; below 0 it comes here (``take``). Where nothing is
   captured that is all there is, too.
2. The settings of the store are looked at every ``LOOK_S`` seconds, and read where they have changed. What cannot be
   read stops capture and nothing else: who asked for privacy must get it from a damaged file as well.
3. Fields are private from the moment that this process knows: what waits to be written when the operator asks for more
   privacy, or turns capture off, is dropped.
4. SQLite is imported where something is captured; most boxes never do.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from edgeml.bundles.box_settings import FILE as SETTINGS
from edgeml.bundles.box_settings import BoxSettings
from edgeml.bundles.disk import SYSTEM
from edgeml.bundles.files import replace_file
from edgeml.errors import EdgemlError
from edgeml.monitor.capture_policy import CapturePolicy, Nobody, Sampler
from edgeml.monitor.capture_source import Origin, Source
from edgeml.runtime.engine import Engine
from edgeml.runtime.prediction import Prediction
from edgeml.runtime.predictor import Predictor

if TYPE_CHECKING:
    from edgeml.monitor.capture import Capture

FILE = "capture.db"
KEY = "capture.key"
LOOK_S = 2.0
KEY_BYTES = 32
COUNTED = ("kept", "dropped", "labels", "lost_labels")

_decode = msgspec.json.Decoder().decode


class Capturing:
    """Captures the answers of one process. Any thread may call any method.

    Args:
        root: Folder of the store; None captures nothing.
        say: Told what people should read, a line each.
        told: Told the settings of the store, at first and where they have changed; not while they cannot be read.

    Attributes:
        sampler: Who chooses. It is replaced as a whole: who takes off asks the same one, and gives it to ``take``.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        say: Callable[[str], None] | None = None,
        told: Callable[[BoxSettings], None] = lambda settings: None,
    ) -> None:
        self._root = root
        self._told_settings = told
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._seen: object = None
        self._policy: CapturePolicy | None = None
        self._capture: Capture | None = None
        # All that this process had; more than one where the operator changed his mind.
        self._all: tuple[Capture, ...] = ()
        # What was told of each bundle so far, and of that the part that is an earlier engine's.
        self._told: dict[str, dict[str, int]] = {}
        self._earlier: WeakKeyDictionary[Engine, dict[str, int]] = WeakKeyDictionary()
        self._refused = ""
        self._said = ""
        self.sampler: Sampler | Nobody = Nobody()

    def begin(self) -> None:
        """Reads the settings, and starts the thread that goes on reading them."""
        self.look()

        def look() -> None:
            while not self._stop.wait(LOOK_S):
                self.look()

        threading.Thread(target=look, name="edgeml-capturing", daemon=True).start()

    def end(self) -> None:
        """Writes down what is queued, and captures no more."""
        self._stop.set()
        with self._lock:
            self._replace(None, None)

    def look(self) -> None:
        """Reads the settings where they have changed, and follows them."""
        if self._root is None or self._stop.is_set():
            return
        with self._lock:
            seen: object = None
            with suppress(OSError):
                seen = SYSTEM.stamp(self._root / SETTINGS)
            if seen is None or seen != self._seen:
                self._seen = seen
                self._follow(self._root)
            failure = self.failure
        if failure and failure != self._said:
            self._say(f"capture: {failure}")
        self._said = failure

    def take(
        self,
        sampler: Sampler | Nobody,
        source_of: Callable[[], Source],
        answers: Sequence[Prediction],
        id_of: Callable[[int], str],
        origin: Origin,
    ) -> None:
        """Chooses among records that were answered; see ``Capture.take``.

        Args:
            sampler: From whom their number was taken off.
            source_of: Gives the records.
            answers: One for each of them.
            id_of: Prediction id by row.
            origin: Whose answers these are.
        """
        capture = self._capture
        if capture is not None and capture.sampler is sampler:
            capture.take(source_of, answers, id_of, origin)

    def label(self, id_: str, label: Any) -> None:
        """Takes the truth of an answer; kept where the ring holds its record."""
        capture = self._capture
        if capture is not None:
            capture.label(id_, label)

    def document(self) -> dict[str, int]:
        """What this process captured since it began, whatever the operator changed meanwhile: see ``Capture.document``.

        All are integers that only rise. Why it cannot is said apart, by ``failure``.
        """
        return _sum(COUNTED, (each.document() for each in self._all))

    def counted(self, engine: Engine) -> dict[str, int]:
        """What was captured of the answers of one engine: records ``kept`` and ``dropped``, ``labels`` joined.

        For whoever adds up the counts of engines: what one engine counted is never told of another one of the same
        bundle. One thread at a time.
        """
        digest = engine.digest
        now = _sum(COUNTED[:3], (each.counted(digest) for each in self._all))
        earlier = self._earlier.get(engine)
        if earlier is None:
            earlier = self._earlier[engine] = self._told.get(digest, dict.fromkeys(now, 0))
        self._told[digest] = now
        return {name: count - earlier[name] for name, count in now.items()}

    @property
    def failure(self) -> str:
        """Why nothing is captured although it should be, or was not written down; empty where all is well."""
        capture = self._capture
        return self._refused or ("" if capture is None else capture.failure)

    def _follow(self, root: Path) -> None:
        self._refused = ""
        try:
            settings = BoxSettings.read(root)
            self._told_settings(settings)
            policy = capture_policy(settings)
            key = capture_key(root) if policy is not None and policy.hashed else b""
        except (EdgemlError, OSError, ValueError) as error:
            self._refused = f"nothing is captured: {error}"
            policy, key = None, b""
            self._seen = None  # again at the next look: a full disk has room some day
        if policy != self._policy:
            self._replace(policy, root, key)

    def _replace(self, policy: CapturePolicy | None, root: Path | None, key: bytes = b"") -> None:
        old, known = self._capture, self._policy
        made: Capture | None = None
        if policy is not None and root is not None:
            from edgeml.monitor.capture import Capture
            from edgeml.monitor.capture_file import CaptureFile

            file = CaptureFile(root / FILE, max_rows=policy.max_rows, max_bytes=policy.max_bytes)
            made = Capture(file, policy, key=key)
            made.begin()
            self._all = (*self._all, made)
        self._policy, self._capture = policy, made
        self.sampler = Nobody() if made is None else made.sampler
        if old is not None and known is not None:
            more_private = policy is None or bool(policy.exclude - known.exclude or policy.hashed - known.hashed)
            old.end(discard=more_private and not self._stop.is_set())


def _sum(names: Sequence[str], counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = dict.fromkeys(names, 0)
    for each in counts:
        for name in names:
            total[name] += each[name]
    return total


class TensorRecords:
    """The records of an infer request, as they came in tensors.

    Args:
        names: Names of the features.
        columns: One array of n values for each, or
        matrix: one array [n, d] of all, or
        numbers: the JSON array of the one record.
        size: Bytes that are kept alive.
    """

    __slots__ = ("_columns", "_matrix", "_names", "_numbers", "size")

    def __init__(
        self, names: Sequence[str], *, columns: Sequence[Any] = (), matrix: Any = None, numbers: bytes = b"", size: int
    ) -> None:
        self._names = names
        self._columns = columns
        self._matrix = matrix
        self._numbers = numbers
        self.size = size

    def records(self) -> Iterator[Mapping[str, Any]]:
        """One for each row; what is not a number is missing, as the reader has it."""
        if self._numbers:
            rows: Iterator[Sequence[Any]] = iter((_decode(self._numbers),))
        elif self._matrix is not None:
            rows = (row.tolist() for row in self._matrix)
        else:
            # An array of pictures has more dimensions; each is kept as its bytes.
            rows = zip(
                *(
                    [each.tobytes() for each in column] if column.ndim > 2 else column.ravel().tolist()
                    for column in self._columns
                ),
                strict=True,
            )
        for row in rows:
            # NaN is the only value that is not itself.
            yield {name: value if value == value else None for name, value in zip(self._names, row, strict=True)}


class Tap:
    """Where the answers of one bundle are offered.

    Args:
        capturing: To whom.
        engine: Whose answers.
        id_of: The id of an answer that has none yet.

    Attributes:
        capturing: To whom; its ``sampler`` is asked first.
        names: Names of the features, in the order of a row.
    """

    __slots__ = ("_id_of", "_origin", "_pictures", "capturing", "names")

    def __init__(self, capturing: Capturing, engine: Engine, id_of: Callable[[Prediction], str]) -> None:
        self.capturing = capturing
        self._id_of = id_of
        self._origin: Origin | None = None
        predictor = engine.predictor
        features = predictor.schema.given if isinstance(predictor, Predictor) else ()
        self.names = tuple(each.name for each in features)
        self._pictures = frozenset(each.name for each in features if each.kind == "image")

    def take(
        self,
        sampler: Sampler | Nobody,
        source_of: Callable[[], Source],
        answers: Sequence[Prediction],
        engine: Engine,
        ids: Callable[[int], str] | None = None,
    ) -> None:
        """Offers answers, whose number was taken off ``sampler.left``, which is below 0 with that.

        Args:
            sampler: From whom it was taken off.
            source_of: Gives the records.
            answers: One for each of them.
            engine: Who gave them.
            ids: Prediction id by row; None where the answers have none.
        """
        if self._origin is None:
            self._origin = Origin(engine.name, engine.digest, engine.version, frozenset(self.names), self._pictures)
        given = ids if ids is not None else lambda row: self._id_of(answers[row])
        self.capturing.take(sampler, source_of, answers, given, self._origin)


def capture_policy(settings: BoxSettings) -> CapturePolicy | None:
    """What is to be captured; None for nothing."""
    if not settings.capture_share:
        return None
    return CapturePolicy(
        share=settings.capture_share,
        boost=settings.capture_boost,
        max_rows=settings.capture_rows,
        max_bytes=settings.capture_bytes,
        bytes_per_day=settings.capture_bytes_per_day,
        exclude=frozenset(settings.capture_exclude),
        hashed=frozenset(settings.capture_hash),
    )


def capture_key(root: Path) -> bytes:
    """The key of hashed fields of a store; made once, and readable for its owner alone.

    Raises:
        ValueError: What is there is no key.
        OSError: It cannot be read or made.
    """
    path = root / KEY
    try:
        key = SYSTEM.read(path, 1024)
    except FileNotFoundError:
        # As a whole, or a kill would leave half a key; nobody else makes one, for a store has one worker.
        key = os.urandom(KEY_BYTES)
        replace_file(path, [key], mode=0o600)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} is damaged; remove it, and hashes from now on differ from those before")
    return key
