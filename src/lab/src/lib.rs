//! Two emulated Kubernetes clusters with Cilium-like networking on one Linux machine.
