//! The development authority: certificates for calls between processes on one machine or in a test cluster.
//!
//! `ca.pem` and `ca.key` are made in the folder once; each role gets `ROLE.pem` and `ROLE.key` signed by it.
//! A certificate names its roles as `ROLE.trangtien.internal` and serves as client and server alike.
//! In production a city's own authority issues certificates of the same form.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use platform::rpc::{PEER_DOMAIN, TlsSettings};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::role::Role;

const CA_VALID: Duration = Duration::from_secs(10 * 365 * 86_400);
const VALID: Duration = Duration::from_secs(365 * 86_400);
/// Certificates begin this much earlier, for clocks that differ.
const SKEW: Duration = Duration::from_secs(3_600);

/// Issues a certificate for these roles (one process) under the name of the first, and answers where everything lies.
///
/// # Errors
/// When the folder can't be written or holds a broken authority.
pub fn issue(dir: &Path, roles: &[Role]) -> anyhow::Result<TlsSettings> {
    let first = roles.first().context("at least one role is needed")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let (ca, issuer) = authority(dir)?;
    let names: Vec<String> = roles.iter().map(|role| format!("{role}.{PEER_DOMAIN}")).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = name(&format!("Tràng Tiền {first}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, VALID);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let settings =
        TlsSettings { ca, certificate: dir.join(format!("{first}.pem")), key: dir.join(format!("{first}.key")) };
    write(&settings.certificate, &certificate.pem(), 0o644)?;
    write(&settings.key, &key.serialize_pem(), 0o600)?;
    Ok(settings)
}

fn authority(dir: &Path) -> anyhow::Result<(PathBuf, Issuer<'static, KeyPair>)> {
    let (certificate_path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
    if certificate_path.is_file() && key_path.is_file() {
        let key = KeyPair::from_pem(&fs::read_to_string(&key_path)?)?;
        let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(&certificate_path)?, key)
            .with_context(|| format!("{} is not a certificate of an authority", certificate_path.display()))?;
        return Ok((certificate_path, issuer));
    }
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = name("Tràng Tiền development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, CA_VALID);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write(&certificate_path, &certificate.pem(), 0o644)?;
    write(&key_path, &key.serialize_pem(), 0o600)?;
    Ok((certificate_path, Issuer::new(params, key)))
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn valid_for(params: &mut CertificateParams, span: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + span).into();
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    if path.exists() {
        fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_role_is_signed_by_the_same_authority() {
        let folder = platform::embedded::scratch::TestFolder::new("cert").expect("a folder");
        let wallet = issue(folder.path(), &[Role::Wallet]).expect("issued");
        let authority = fs::read(&wallet.ca).expect("written");
        let identity = issue(folder.path(), &[Role::Identity]).expect("issued");
        assert_eq!(fs::read(&identity.ca).expect("kept"), authority);
        assert_ne!(identity.certificate, wallet.certificate);
        let mode = fs::metadata(&wallet.key).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a private key is private");
    }
}
