//! Selects, orders and runs checks as libtest-mimic trials, with admission, deadlines and cancellation.
