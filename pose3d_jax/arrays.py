"""Array types of signatures: `Array` is JAX's, `np.ndarray` NumPy's, `AnyArray` either."""

import numpy as np
from jaxtyping import Array

AnyArray = Array | np.ndarray
