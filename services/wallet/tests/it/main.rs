//! The wallet from outside: over HTTP, on a private PostgreSQL, against a real sandbox bank. One program, so that it links once.

mod bad_input;
mod callback;
mod checkpoint;
mod journey;
mod limit;
mod merchant;
mod overload;
mod payment;
mod receipt;
mod refund;
mod relay;
mod stage;
mod stream;
mod top_up;
mod totals;
