"""Competing hidden units: an executable reproduction of Krotov & Hopfield (2019).

Where things are, from images to a test error:

========================================== ==========================================================
:mod:`~bionet.data`                        MNIST, CIFAR-10 and their stand-in
:mod:`~bionet.dynamics`                    eq. 1: how units settle, by Euler steps and exactly
:mod:`~bionet.plasticity`                  eqs. 2 and 3, by Euler steps and exactly (:mod:`~bionet.boosts`)
:mod:`~bionet.ranking`                     the paper's fast rule, defined
:mod:`bionet.fast`                         the same rules made fast: `engine` chooses among NumPy, Numba
                                           (``*_compiled``) and, for CuPy arrays, CUDA (``ranked_cuda``)
:mod:`~bionet.units`                       estimators that learn W: `CompetingUnits`, `RankedUnits`
:mod:`~bionet.readout`, :mod:`~bionet.mlp` the supervised layer on such units; back-propagation to compare
:mod:`bionet.measures`                     what learned rows look like, and which run away
:mod:`~bionet.attacks`                     adversarial examples
:mod:`~bionet.backend`                     NumPy or CuPy, by the array given
========================================== ==========================================================

The package ``bionet_reproduction`` beside this one holds what was run with it: each run a plan in ``runs/``
(the 1.67 % of MNIST in ``runs/mnist.py``), its record in ``results/``, and the ledger of the talk's claims.
"""

__version__ = "0.1.0"
