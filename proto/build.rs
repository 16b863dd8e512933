//! Compiles the contracts with protox, so that no `protoc` has to be installed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=trangtien");
    let files = [
        "trangtien/money/v1/money.proto",
        "trangtien/auth/v1/key.proto",
        "trangtien/identity/v1/identity.proto",
        "trangtien/identity/v1/events.proto",
        "trangtien/identity/v1/office.proto",
        "trangtien/identity/v1/officer.proto",
        "trangtien/identity/v1/delegation.proto",
        "trangtien/identity/v1/person.proto",
        "trangtien/wallet/v1/wallet.proto",
        "trangtien/wallet/v1/events.proto",
        "trangtien/notifications/v1/events.proto",
        "trangtien/reports/v1/events.proto",
        "trangtien/ioc/v1/events.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure().build_transport(false).compile_fds_with_config(descriptors, config)?;
    Ok(())
}
