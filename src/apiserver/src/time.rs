//! Times as the API prints them.

use jiff::Timestamp;

/// Now, as `metav1.Time` prints it: RFC 3339 in UTC, whole seconds.
pub(crate) fn now() -> String {
    at(Timestamp::now())
}

/// A time as `metav1.Time` prints it.
pub(crate) fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time as `metav1.MicroTime` prints it.
pub(crate) fn at_micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
