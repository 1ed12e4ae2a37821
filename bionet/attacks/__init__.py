"""Adversarial examples: what an attacker who knows everything can do to a classifier.

An attack is a step, a projection and a criterion, kept apart. Images are rows with pixels in
[0, 1]; `eps` is the radius of the ball in pixels (L_inf) or in the L2 norm of an image. The
normalisation of an image is part of the attacked model. The criteria look at the logits, before any
tanh: ``cross_entropy``, ``margin`` and ``dlr``. The criterion ``trained`` is the model's own loss; a
saturated one has no gradient to follow, and its plateau is no robustness.

Sources: Goodfellow et al. (2015) for :func:`fgsm`; Madry et al. (2018) for :func:`pgd`; Croce & Hein
(2020) for the DLR criterion, Rony et al. (2019) for :func:`minimal_l2`.
"""

from bionet.attacks.ball import NORMS
from bionet.attacks.minimal import median_interval, minimal_l2
from bionet.attacks.search import PGD, Search, pgd
from bionet.attacks.steps import fgsm, noise, project
from bionet.attacks.survival import accuracy, robust_accuracy, survivors, survivors_within, worst_case

__all__ = [
    "NORMS",
    "PGD",
    "Search",
    "accuracy",
    "fgsm",
    "median_interval",
    "minimal_l2",
    "noise",
    "pgd",
    "project",
    "robust_accuracy",
    "survivors",
    "survivors_within",
    "worst_case",
]
