//! Makes sure that the folder of built web pages exists, so that the crate compiles without Node.js; `src/web.rs` then says how to build them.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/dist");
    std::fs::create_dir_all(&pages)?;
    println!("cargo:rerun-if-changed={}", pages.display());
    println!("cargo:rerun-if-changed=migrations");
    Ok(())
}
