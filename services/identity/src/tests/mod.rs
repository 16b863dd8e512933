//! Tests on a private PostgreSQL and Redis.
#![allow(clippy::panic)]

mod archive;
mod audit;
mod build;
mod cap;
mod closing;
mod closing_crash;
mod delegation;
mod dependent;
mod dependent_leave;
mod device;
mod ekyc;
mod erasure;
mod export;
mod grpc;
mod guess;
mod http;
mod key;
mod name;
mod office;
mod officer;
mod openid;
mod otp;
mod passkey;
mod pin;
mod plain;
mod prune;
mod refusal;
mod session;
mod step_up;
mod term;
mod token;
mod vneid;
mod vneid_forged;
mod vneid_sign_in;
mod vneid_wish;
