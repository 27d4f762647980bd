"""Read your writes: which tokens a request brings, how long it will wait, and the waiting itself."""
