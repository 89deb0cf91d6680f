"""``edgeml`` with a dashboard that shows a sample of what is watched, read anew from a file for every question.

Everything else is the real box. Run as ``python dashboard_box.py REPORTS.json serve --store ...``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    from edgeml.cli import main
    from edgeml.supervisor import box
    from edgeml.supervisor.management_app import make_management_app

    reports = Path(sys.argv.pop(1))

    def made(*arguments: Any, **options: Any) -> Any:
        return make_management_app(
            *arguments, **{**options, "reports": lambda: json.loads(reports.read_text(encoding="utf-8"))}
        )

    box.make_management_app = made
    main()
