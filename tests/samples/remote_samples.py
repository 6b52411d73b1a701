"""What the scans of these tests have in common."""

from __future__ import annotations

import numpy as np

# Oblique, flipped, sheared and anisotropic.
AFFINE = np.array(
    [[-1.3, 0.21, 0.4, 41.7], [0.11, 0.9, -0.62, -17.3], [0.17, 0.33, 2.9, 5.1], [0, 0, 0, 1]]
)
