//! Where photos are kept: a folder, or a bucket of a store that speaks S3. Only this file knows which.
//!
//! A photo has one name and one content for ever, so that storing it again changes nothing and any part of storing may be repeated.
//! Every call ends within the configured patience, whatever the store does.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use uuid::Uuid;

use crate::config::{PhotosConfig, S3Config};

/// Why the store can't be used as it is configured.
pub(crate) type Unusable = Box<dyn std::error::Error + Send + Sync>;

/// Why a photo was not stored or not found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// It may pass: the store is away, or failed.
    #[error("the store of photos does not answer")]
    Away(#[source] object_store::Error),
    /// It may pass: no answer within the patience.
    #[error("the store of photos is too slow")]
    Slow,
    /// An operator must look: credentials, rights or the bucket.
    #[error("the store of photos refuses")]
    Refuses(#[source] object_store::Error),
    /// An operator must look: a photo that was stored is not there.
    #[error("the store of photos has lost one")]
    Lost(#[source] object_store::Error),
}

impl StoreError {
    /// How it is counted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Away(_) => "store-away",
            Self::Slow => "store-slow",
            Self::Refuses(_) => "store-refuses",
            Self::Lost(_) => "store-lost",
        }
    }

    fn of(error: object_store::Error) -> Self {
        use object_store::Error;
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } | Error::NotFound { .. } => {
                Self::Refuses(error)
            }
            _ => Self::Away(error),
        }
    }
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    root: Key,
    patience: Duration,
}

impl Store {
    /// The store that is configured. Nothing is asked of it yet: it may be away when the process starts.
    pub(crate) fn try_new(config: &PhotosConfig) -> Result<Self, Unusable> {
        let patience = Duration::from_millis(config.timeout_ms);
        Ok(match &config.s3 {
            Some(settings) => Self { objects: Arc::new(bucket(settings)?), root: Key::default(), patience },
            None => {
                let root = Key::from_absolute_path(std::path::absolute(&config.folder)?)?;
                Self { objects: Arc::new(LocalFileSystem::new()), root, patience }
            }
        })
    }

    /// Stores a photo of a report.
    pub(crate) async fn put(&self, report: Uuid, photo: Uuid, bytes: Vec<u8>) -> Result<(), StoreError> {
        let key = self.key(report, photo);
        let stored = tokio::time::timeout(self.patience, self.objects.put(&key, PutPayload::from(bytes)));
        // A folder that is not there yet is made, so that nothing found means no bucket.
        stored.await.map_err(|_| StoreError::Slow)?.map(|_| ()).map_err(StoreError::of)
    }

    /// A photo of a report that was stored.
    pub(crate) async fn get(&self, report: Uuid, photo: Uuid) -> Result<Vec<u8>, StoreError> {
        let key = self.key(report, photo);
        let read = async { Ok(self.objects.get(&key).await?.bytes().await?.to_vec()) };
        let read: Result<Vec<u8>, object_store::Error> =
            tokio::time::timeout(self.patience, read).await.map_err(|_| StoreError::Slow)?;
        read.map_err(|error| match error {
            object_store::Error::NotFound { .. } => StoreError::Lost(error),
            _ => StoreError::of(error),
        })
    }

    /// Removes a photo of a report; one that is not there is removed.
    pub(crate) async fn remove(&self, report: Uuid, photo: Uuid) -> Result<(), StoreError> {
        let key = self.key(report, photo);
        let removed = tokio::time::timeout(self.patience, self.objects.delete(&key));
        match removed.await.map_err(|_| StoreError::Slow)? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::of(error)),
        }
    }

    fn key(&self, report: Uuid, photo: Uuid) -> Key {
        self.root.clone().join(report.to_string()).join(format!("{photo}.jpg"))
    }
}

fn bucket(settings: &S3Config) -> Result<AmazonS3, Unusable> {
    for (name, text) in [
        ("bucket", settings.bucket.as_str()),
        ("region", &settings.region),
        ("key", settings.key.expose()),
        ("secret", settings.secret.expose()),
    ] {
        if text.trim().is_empty() {
            return Err(format!("s3.{name} is empty").into());
        }
    }
    let plain = match settings.endpoint.scheme() {
        "http" => true,
        "https" => false,
        other => return Err(format!("s3.endpoint begins with {other}, not with https or http").into()),
    };
    let bucket = AmazonS3Builder::new()
        .with_endpoint(settings.endpoint.as_str().trim_end_matches('/'))
        .with_bucket_name(&settings.bucket)
        .with_region(&settings.region)
        .with_access_key_id(settings.key.expose())
        .with_secret_access_key(settings.secret.expose())
        // One by one: not every store that speaks S3 removes several at once.
        .with_disable_bulk_delete(true)
        .with_allow_http(plain);
    Ok(bucket.build()?)
}

#[cfg(test)]
mod tests {
    use platform::config::Secret;

    use super::*;

    fn s3() -> S3Config {
        S3Config {
            endpoint: "https://s3.example.vn".parse().expect("a URL"),
            bucket: "photos".to_owned(),
            region: "vn-1".to_owned(),
            key: Secret::new("key"),
            secret: Secret::new("secret"),
        }
    }

    #[test]
    fn settings_that_no_store_has_are_named() {
        let said = |change: fn(&mut S3Config)| {
            let mut settings = s3();
            change(&mut settings);
            Store::try_new(&PhotosConfig { s3: Some(settings), ..PhotosConfig::default() })
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(said(|_| {}), None);
        assert_eq!(said(|settings| settings.bucket.clear()).as_deref(), Some("s3.bucket is empty"));
        assert_eq!(said(|settings| settings.secret = Secret::new(" ")).as_deref(), Some("s3.secret is empty"));
        let ftp = said(|settings| settings.endpoint = "ftp://s3.example.vn".parse().expect("a URL"));
        assert_eq!(ftp.as_deref(), Some("s3.endpoint begins with ftp, not with https or http"));
    }
}
