//! The suite in a healthy world, and each way in which an agent or the API can be wrong.
