"""Estimators that learn a layer of hidden units without labels.

:class:`CompetingUnits` follows equations 1 to 3, one image after another.
:class:`RankedUnits` follows the paper's fast rule, one minibatch after another.
Both learn ``components_`` of shape ``(hidden, features)`` and transform images into currents.
"""

from bionet.units.units import CompetingUnits, RankedUnits, initial_weights

__all__ = ["CompetingUnits", "RankedUnits", "initial_weights"]
