//! The command as users meet it: what it prints and with which exit code it ends. One binary, since each links the
//! whole program.

mod claims;
mod command_line;
mod configuration;
mod gate;
mod help;
mod meshproof;
mod on_the_lab;
