//! Whole repositories, checked.

mod agent;
mod docs;
mod example;
mod formats;
mod large;
mod prediction;
mod reading;
mod repository;
mod rules;
mod secrets;
