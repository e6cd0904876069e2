//! A Kubernetes API server in memory that real clients are happy with. It knows nothing of Cilium or of meshproof.
