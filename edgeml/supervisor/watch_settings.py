"""How the operator wants the box watched, from its settings."""

from __future__ import annotations

from pathlib import Path

from edgeml.bundles.box_settings import DISABLE, BoxSettings
from edgeml.errors import EdgemlError
from edgeml.monitor.alarms import FalseAlarmBudget
from edgeml.monitor.watch import WatchSettings


def watch_settings(root: Path) -> WatchSettings:
    """The settings of a store; the defaults where they cannot be read, for a box is watched whatever happens.

    Args:
        root: Folder of the store.
    """
    try:
        settings = BoxSettings.read(root)
    except (EdgemlError, OSError):
        return WatchSettings()
    budget = FalseAlarmBudget(days=settings.false_alarm_days)
    return WatchSettings(budget, settings.drift_min_effect, disables=settings.disable_rules == DISABLE)
