//! The vocabulary of meshproof: checks, claims, facts, probes, observations, verdicts, events. No I/O.
