//! The wallet from outside: over HTTP, on a private PostgreSQL, against a real sandbox bank and biller. One program, so that it links once.

mod agency;
mod bad_input;
mod bill;
mod bill_faults;
mod biller;
mod callback;
mod checkpoint;
mod delegation;
mod fee;
mod fee_faults;
mod journey;
mod limit;
mod merchant;
mod overload;
mod payment;
mod person;
mod proposal;
mod receipt;
mod refund;
mod relay;
mod stage;
mod step_up;
mod stream;
mod top_up;
mod totals;
