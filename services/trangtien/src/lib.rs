//! The command: one program, many roles.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`cli`] | what can be asked for |
//! | [`up`] | a whole city on this machine; [`embedded`] its servers, [`folder`] its data folder, [`split`] one process per role |
//! | [`serve`] | production: some roles, until asked to stop |
//! | [`run`] | wires the roles of one process, straight down |
//! | [`http`], [`gateway`] | the common routes; the proxy in front of roles of other processes |
//! | [`config`], [`role`], [`listen`], [`stop`], [`progress`] | settings, roles, sockets, signals, lines at a terminal |
//! | [`migrate`], [`ledger`], [`admin`], [`city`], [`cert`] | the other commands; [`database`] finds what they work on |
//! | [`receipt`] | checks a receipt without any city |
//! | [`walkthrough`] | the main job as the city's people do it, over public HTTP only |
//!
//! Invariant: services never meet here but as channels, routes and tasks; no rule of the city lives in this crate.

pub mod admin;
pub mod cert;
pub mod city;
pub mod cli;
pub mod config;
pub mod database;
pub mod embedded;
pub mod folder;
pub mod gateway;
pub mod http;
pub mod ledger;
pub mod listen;
pub mod migrate;
pub mod progress;
pub mod receipt;
pub mod role;
pub mod run;
pub mod serve;
pub mod split;
pub mod stop;
pub mod up;
pub mod walkthrough;
