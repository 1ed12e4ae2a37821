"""Estimators that learn a layer of hidden units without labels.

:class:`CompetingUnits` follows equations 1 to 3, one image after another.
:class:`RankedUnits` follows the paper's fast rule, one minibatch after another.
Both learn ``components_`` of shape ``(hidden, features)`` and transform images into currents.
:class:`PatchFeatures` lets such units learn from small windows of images, and applies them at every place.
"""

from bionet.units.competing import CompetingUnits
from bionet.units.patch_features import PatchFeatures
from bionet.units.ranked import RankedUnits
from bionet.units.start import initial_weights

__all__ = ["CompetingUnits", "PatchFeatures", "RankedUnits", "initial_weights"]
