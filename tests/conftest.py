"""For all tests."""

from __future__ import annotations

import gc

# As the command line does: most tests build expressions, in which a search for garbage finds none.
gc.set_threshold(50_000, *gc.get_threshold()[1:])
