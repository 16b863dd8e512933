//! Starts the command; everything is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use trangtien::cli::{self, Cli};

/// Requests are allocated on one thread and freed on another, many of their pieces larger than what the C library keeps at hand.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match cli.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", cli::explain(&error));
            ExitCode::FAILURE
        }
    }
}
