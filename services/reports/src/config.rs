//! The role's settings.

use std::path::PathBuf;

use platform::config::Secret;
use platform::person::PersonConfig;
use serde::{Deserialize, Serialize};
use url::Url;

/// Settings of the reports role.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where photos are kept. All processes of the role share it.
    pub photos: PhotosConfig,
    /// Photos that one process decodes at a time; each takes up to 144 MiB.
    pub photos_at_once: usize,
    /// What seals the keys of citizens.
    pub persons: PersonConfig,
}

/// Where photos are kept: in a bucket where one is named, else in a folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhotosConfig {
    /// The folder; made when the first photo is stored.
    pub folder: PathBuf,
    /// The bucket.
    pub s3: Option<S3Config>,
    /// The longest that storing or fetching one photo may take, tries that fail included, in milliseconds.
    pub timeout_ms: u64,
}

/// A bucket of a store that speaks S3.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The store's origin; the bucket's name follows it as the first part of the path.
    pub endpoint: Url,
    /// The bucket; it is there already, and nobody outside may read it.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// The id of the key that signs requests; it may put, get and delete objects of the bucket.
    pub key: Secret,
    /// The key itself.
    pub secret: Secret,
}

impl Default for PhotosConfig {
    fn default() -> Self {
        Self { folder: PathBuf::from("files/reports"), s3: None, timeout_ms: 10_000 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { photos: PhotosConfig::default(), photos_at_once: 2, persons: PersonConfig::default() }
    }
}
