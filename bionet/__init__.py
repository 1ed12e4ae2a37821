"""Competing hidden units: an executable reproduction of Krotov & Hopfield (2019).

The modules follow the data: :mod:`~bionet.data` gives images, :mod:`~bionet.dynamics` turns
their currents into activities, :mod:`~bionet.plasticity` and :mod:`~bionet.ranking` turn
activities into weight changes, :mod:`~bionet.units` learns with them, and
:mod:`~bionet.readout` classifies what was learned.
"""

__version__ = "0.1.0"
