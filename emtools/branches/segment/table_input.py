"""``emtools segment TABLE`` until the table is read: nothing heavy is imported before."""

from __future__ import annotations

from emtools.branches.segment.table_types import Options
from emtools.branches.segment.types import require_classes
from emtools.io.feature_table import read_features


def run(options: Options) -> int:
    """Read, fit, write; the exit code."""
    require_classes(options.components)
    table = read_features(
        options.input, columns=options.columns, id_column=options.id, layer=options.layer, truth=options.truth
    )

    from emtools.branches.segment.table import analyse  # what a file that cannot be read need not wait for

    return analyse(options, table)
