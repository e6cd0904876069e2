//! The probe agent: servers, clients, DNS and measuring from inside a pod.
