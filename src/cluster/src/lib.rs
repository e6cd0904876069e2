//! The environment over the Kubernetes API: contexts, deployment, readiness, agents, Cilium objects, cleaning up.
