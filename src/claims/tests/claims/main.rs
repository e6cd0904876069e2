//! Whole repositories, checked.

mod example;
mod prediction;
mod reading;
mod repository;
mod rules;
mod secrets;
