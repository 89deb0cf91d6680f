"""How many bytes a box fetches in a day, and may; remembered in its store, so that a restart does not begin anew.

1. A day is one of UTC, by the latest time that the box knows of: a clock that starts in 1970, or is set back, gives no
   fresh budget.
2. Bytes are written down before they come, a step at a time, so that a power cut makes the box think that it has
   fetched a little more, never less; and the disk is not written for every piece.
3. What exceeds the budget ends the transfer. What came is kept by whoever takes it, and the next day goes on there.
4. Without a limit it is counted all the same: a limit that is set at noon counts what came in the morning.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from edgeml.bundles.disk import SYSTEM, Disk
from edgeml.bundles.documents import canonical, parse_object
from edgeml.bundles.files import replace_file
from edgeml.errors import ArchiveError, StateError, TransferError

FILE = "budget.json"

_MAX_BYTES = 4096
_DAY_SECONDS = 86_400
_FEWEST_STEPS = 64
_LEAST_STEP_BYTES = 256 * 1024
_UNLIMITED_STEP_BYTES = 16 * 1024 * 1024


class ByteBudget:
    """The budget of one store. The caller lets nobody else spend it at the same time.

    Args:
        folder: Folder of the store.
        per_day: Bytes; None counts them and sets no limit.
        now: The latest time known, in seconds since 1970.
        disk: Where.
    """

    def __init__(self, folder: Path, per_day: int | None, *, now: Callable[[], float], disk: Disk = SYSTEM) -> None:
        self._path = folder / FILE
        self._per_day = per_day
        self._now = now
        self._disk = disk
        self._step = _UNLIMITED_STEP_BYTES if per_day is None else max(per_day // _FEWEST_STEPS, _LEAST_STEP_BYTES)
        self._day = self._spent = self._written = 0
        self._read()

    @property
    def left(self) -> int | None:
        """Bytes that may still come today; None where there is no limit."""
        self._turn()
        return None if self._per_day is None else max(self._per_day - self._spent, 0)

    def check(self) -> None:
        """Refuses to begin where nothing is left.

        Raises:
            TransferError: Code ``budget``.
        """
        if self.left == 0:
            raise self._used_up()

    def spend(self, size: int) -> None:
        """Counts bytes that came.

        Raises:
            TransferError: Code ``budget``: they are more than were left.
            OSError: They cannot be written down.
        """
        self._turn()
        self._spent += size
        if self._spent > self._written:
            self._write(self._spent + self._step)
        if self._per_day is not None and self._spent > self._per_day:
            raise self._used_up()

    def close(self) -> None:
        """Writes down what was really fetched."""
        if self._written != self._spent:
            self._write(self._spent)

    def __enter__(self) -> ByteBudget:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _turn(self) -> None:
        today = int(self._now() // _DAY_SECONDS)
        if today > self._day:
            self._day, self._spent, self._written = today, 0, 0

    def _read(self) -> None:
        try:
            document = parse_object(self._disk.read(self._path, _MAX_BYTES), FILE)
            day, spent = document["day"], document["bytes"]
            if type(day) is not int or type(spent) is not int or day < 0 or spent < 0:
                raise ValueError("day and bytes must be whole numbers, 0 or more")
        except FileNotFoundError:
            return
        except (ArchiveError, KeyError, ValueError) as error:
            if self._per_day is None:
                return  # nobody asks how much it was; the next step writes the file anew
            raise StateError(f"{self._path} is damaged ({error}); remove it to begin a fresh day") from error
        self._day, self._spent, self._written = day, spent, spent

    def _write(self, spent: int) -> None:
        data = canonical({"day": self._day, "bytes": spent}, FILE, error=StateError)
        replace_file(self._path, [data], mode=0o640, disk=self._disk)
        self._written = spent

    def _used_up(self) -> TransferError:
        day = datetime.fromtimestamp(min(self._day * _DAY_SECONDS, 253_402_214_400), UTC).strftime("%Y-%m-%d")
        return TransferError(
            f"the budget of {self._per_day} bytes for {day} (UTC) is used up; what came is kept: pull again tomorrow, "
            "or with a larger budget ('edgeml settings --pull-budget-per-day' on the box)",
            code="budget",
        )
