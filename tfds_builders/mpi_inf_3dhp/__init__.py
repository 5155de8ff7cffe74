"""The test set of MPI-INF-3DHP."""
