"""What the paper reports (Krotov & Hopfield, PNAS 2019); errors in per cent."""

from __future__ import annotations

MNIST = {"bio": 1.46, "delta_0": 2.02, "n_1": 7.44, "n_10": 1.98, "end_to_end": 1.5}
CIFAR10 = {"bio": 49.25, "bio_train": 44.95, "end_to_end": 44.74}
GRID = {  # Fig. 6: test error, k = 2 to 8; None where it did not converge
    6: (1.78, 1.58, 1.73, 1.70, 1.97, 1.86, None),
    5: (1.86, 1.69, 1.69, 1.89, 1.75, 1.64, 1.89),
    4: (1.72, 1.80, 1.58, 1.69, 1.75, 1.73, 1.71),
    3: (1.81, 1.99, 1.89, 1.76, 1.75, 1.46, 1.64),
    2: (1.92, 1.84, 1.71, 1.75, 1.56, 1.69, None),
}
GRID_K = (2, 3, 4, 5, 6, 7, 8)
