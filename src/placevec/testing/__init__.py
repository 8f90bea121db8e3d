"""The contracts of placevec as suites that any implementation can run: an index, an encoder, cells, a source.

Plain asserts, so that a plug-in needs no more than this module and whatever runs its tests::

    def test_my_index():
        check_index(lambda table: MyIndex.build(table))
"""

from placevec.testing.cells import check_cells
from placevec.testing.encoder import check_encoder
from placevec.testing.index import brute_force, check_index, sample_table
from placevec.testing.source import check_source

__all__ = ["brute_force", "check_cells", "check_encoder", "check_index", "check_source", "sample_table"]
