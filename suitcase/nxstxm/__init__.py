"""``suitcase.nxstxm``, the name by which Bluesky finds a suitcase, is the package ``suitcase_nxstxm``."""

import sys

import suitcase_nxstxm

# The package itself takes this place: one module under two names, not two copies with two sets of classes.
sys.modules[__name__] = suitcase_nxstxm
