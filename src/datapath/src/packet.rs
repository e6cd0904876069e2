//! IPv4 packets in buffers with headroom. Placeholder until the switch lands.
