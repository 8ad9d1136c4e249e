"""What every row of the lake carries."""

from __future__ import annotations

import dataframely as dy


class Row(dy.Schema):
    """What every row carries."""

    run_id = dy.String()
    created_at = dy.Datetime(time_unit="us")
