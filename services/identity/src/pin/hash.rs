//! argon2id over peppered PINs: 19 MiB, 2 passes, 1 lane (OWASP), on blocking threads, a few at a time.
//!
//! Invariant: at most `at_once` hashes hold memory at any moment; who waits longer than [`PATIENCE`] is turned away.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;
use crate::vault::{self, Digest};

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The longest wait for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hashes PINs, a few at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hasher {
    places: Arc<Semaphore>,
    patience: Duration,
}

/// The right to compute one hash.
pub(crate) struct Place(OwnedSemaphorePermit);

impl Hasher {
    /// Allows `at_once` hashes at a time.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once)), patience: PATIENCE }
    }

    /// How many places are taken.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        crate::config::Config::default().pin_hashes_at_once - self.places.available_permits()
    }

    /// Waits for a place.
    pub(crate) async fn place(&self) -> Result<Place, Error> {
        match tokio::time::timeout(self.patience, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place(permit)),
            Ok(Err(_)) | Err(_) => Err(Error::PinBusy),
        }
    }

    /// Hashes a peppered PIN into a PHC string.
    pub(crate) async fn hash(&self, peppered: Digest) -> Result<String, Error> {
        let place = self.place().await?;
        blocking(place, move || {
            let salt = SaltString::encode_b64(&vault::random::<16>())?;
            Ok(argon2()?.hash_password(&peppered, &salt)?.to_string())
        })
        .await
    }
}

impl Place {
    /// Whether a peppered PIN is the one that was hashed.
    pub(crate) async fn verify(self, peppered: Digest, hash: String) -> Result<bool, Error> {
        blocking(self, move || {
            let parsed = PasswordHash::new(&hash)?;
            match argon2()?.verify_password(&peppered, &parsed) {
                Ok(()) => Ok(true),
                Err(argon2::password_hash::Error::Password) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

fn argon2() -> Result<Argon2<'static>, argon2::password_hash::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Runs a hash on a blocking thread that holds its place until it is done, also when nobody waits any more.
async fn blocking<T: Send + 'static>(
    place: Place,
    work: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static,
) -> Result<T, Error> {
    let work = move || {
        let result = work();
        drop(place.0);
        result
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| Error::Hashing(error.to_string())),
        Err(error) => Err(Error::Hashing(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_same_pin_verifies() {
        let hasher = Hasher::new(2);
        let hash = hasher.hash([7; 32]).await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash([7; 32]).await.expect("hashes"), "each hash has its own salt");
        let verify = |peppered| {
            let (hasher, hash) = (hasher.clone(), hash.clone());
            async move { hasher.place().await.expect("a place").verify(peppered, hash).await.expect("verifies") }
        };
        assert!(verify([7; 32]).await);
        assert!(!verify([8; 32]).await);
    }

    #[tokio::test]
    async fn a_broken_hash_is_an_error_and_no_answer() {
        let place = Hasher::new(1).place().await.expect("a place");
        assert!(place.verify([7; 32], "no hash".to_owned()).await.is_err());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_turned_away() {
        let hasher = Hasher { patience: Duration::from_millis(1), ..Hasher::new(1) };
        let _held = hasher.place().await.expect("a place");
        assert!(matches!(hasher.place().await, Err(Error::PinBusy)));
    }
}
