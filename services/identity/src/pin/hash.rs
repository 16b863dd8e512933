//! argon2id over peppered PINs: 19 MiB, 2 passes, 1 lane (OWASP), on threads of their own that give way to all others.
//!
//! Invariant: at most `at_once` hashes are computed at any moment; who waits longer than [`PATIENCE`] is turned away.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{Error as HashError, Output, ParamsString, PasswordHash, SaltString};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::thread::{Memory, Threads};
use crate::error::Error;
use crate::vault::{self, Digest};

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The most bytes of a salt that is read.
const MAX_SALT: usize = 64;
/// The longest wait for a place.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hashes PINs, a few at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hasher {
    places: Arc<Semaphore>,
    threads: Threads,
    patience: Duration,
}

/// The right to compute one hash.
pub(crate) struct Place {
    threads: Threads,
    permit: OwnedSemaphorePermit,
}

impl Hasher {
    /// Allows `at_once` hashes at a time, and starts as many threads of a niceness.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(crate) fn try_new(at_once: usize, niceness: u8) -> io::Result<Self> {
        let (places, threads) = (Arc::new(Semaphore::new(at_once)), Threads::start(at_once, niceness)?);
        Ok(Self { places, threads, patience: PATIENCE })
    }

    /// How many places are taken.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        crate::config::Config::default().pin_hashes_at_once - self.places.available_permits()
    }

    /// Waits for a place.
    pub(crate) async fn place(&self) -> Result<Place, Error> {
        match tokio::time::timeout(self.patience, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { threads: self.threads.clone(), permit }),
            Ok(Err(_)) | Err(_) => Err(Error::PinBusy),
        }
    }

    /// Hashes a peppered PIN into a PHC string.
    pub(crate) async fn hash(&self, peppered: Digest) -> Result<String, Error> {
        let place = self.place().await?;
        computed_at(place, move |memory| {
            let salt = vault::random::<16>();
            let (hash, text) = (computed(memory, &peppered, &salt)?, SaltString::encode_b64(&salt)?);
            let phc = PasswordHash {
                algorithm: ARGON2ID_IDENT,
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(&params()?)?,
                salt: Some(text.as_salt()),
                hash: Some(Output::new(&hash)?),
            };
            Ok(phc.to_string())
        })
        .await
    }
}

impl Place {
    /// Whether a peppered PIN is the one that was hashed.
    pub(crate) async fn verify(self, peppered: Digest, hash: String) -> Result<bool, Error> {
        computed_at(self, move |memory| {
            let parsed = PasswordHash::new(&hash)?;
            let ours = parsed.algorithm == ARGON2ID_IDENT
                && parsed.version == Some(Version::V0x13.into())
                && Params::try_from(&parsed)? == params()?;
            if !ours {
                return Err(HashError::ParamNameInvalid);
            }
            let (salt, kept) =
                (parsed.salt.ok_or(HashError::PhcStringField)?, parsed.hash.ok_or(HashError::PhcStringField)?);
            let mut bytes = [0; MAX_SALT];
            // Compared in constant time.
            Ok(Output::new(&computed(memory, &peppered, salt.decode_b64(&mut bytes)?)?)? == kept)
        })
        .await
    }
}

fn params() -> Result<Params, HashError> {
    Ok(Params::new(MEMORY_KIB, PASSES, LANES, Some(Params::DEFAULT_OUTPUT_LEN))?)
}

fn computed(
    memory: &mut Memory,
    peppered: &Digest,
    salt: &[u8],
) -> Result<[u8; Params::DEFAULT_OUTPUT_LEN], HashError> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params()?);
    let mut hash = [0; Params::DEFAULT_OUTPUT_LEN];
    memory.resize(MEMORY_KIB as usize, Block::default());
    argon2.hash_password_into_with_memory(peppered, salt, &mut hash, memory)?;
    Ok(hash)
}

/// Computes on a thread that holds the place until it is done, also when nobody waits any more or it panics.
async fn computed_at<T: Send + 'static>(
    place: Place,
    work: impl FnOnce(&mut Memory) -> Result<T, HashError> + Send + 'static,
) -> Result<T, Error> {
    let Place { threads, permit } = place;
    let result = threads.run(move |memory| {
        // Dropped here, before the answer is given: the place is taken for as long as its thread is.
        let _permit = permit;
        work(memory)
    });
    match result.await {
        Some(result) => result.map_err(|error| Error::Hashing(error.to_string())),
        None => Err(Error::Hashing("the hash panicked".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn hasher(at_once: usize) -> Hasher {
        Hasher::try_new(at_once, 0).expect("threads")
    }

    #[tokio::test]
    async fn only_the_same_pin_verifies() {
        let hasher = hasher(2);
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
    async fn hashes_that_others_compute_are_the_same() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, params().expect("constant"));
        let salt = SaltString::encode_b64(&[5; 16]).expect("16 bytes");
        let hash = theirs.hash_password(&[7; 32], &salt).expect("hashes").to_string();
        let hasher = hasher(1);
        for _ in 0..2 {
            let place = hasher.place().await.expect("a place");
            assert!(
                place.verify([7; 32], hash.clone()).await.expect("verifies"),
                "also with memory that was used before"
            );
        }
        let ours = hasher.hash([7; 32]).await.expect("hashes");
        theirs.verify_password(&[7; 32], &PasswordHash::new(&ours).expect("a PHC string")).expect("the same");
    }

    #[tokio::test]
    async fn a_broken_hash_is_an_error_and_no_answer() {
        let place = hasher(1).place().await.expect("a place");
        assert!(place.verify([7; 32], "no hash".to_owned()).await.is_err());
        let weaker = "$argon2id$v=19$m=8,t=1,p=1$BQUFBQUFBQUFBQUFBQUFBQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let place = hasher(1).place().await.expect("a place");
        assert!(place.verify([7; 32], weaker.to_owned()).await.is_err(), "not one of ours");
    }

    #[tokio::test]
    async fn who_waits_too_long_is_turned_away() {
        let hasher = Hasher { patience: Duration::from_millis(1), ..hasher(1) };
        let _held = hasher.place().await.expect("a place");
        assert!(matches!(hasher.place().await, Err(Error::PinBusy)));
    }
    #[tokio::test]
    async fn a_panic_and_a_caller_who_left_cost_no_place() {
        let hasher = hasher(1);
        let panicked = computed_at::<u8>(hasher.place().await.expect("a place"), |_| {
            std::panic::resume_unwind(Box::new("on purpose"))
        });
        assert!(matches!(panicked.await, Err(Error::Hashing(_))));
        assert_eq!(hasher.places.available_permits(), 1);
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (release, held) = mpsc::channel::<()>();
        let place = hasher.place().await.expect("a place");
        let left = tokio::spawn(computed_at(place, move |_| {
            begin.send(()).map_err(|()| HashError::Password)?;
            held.recv().map_err(|_| HashError::Password)
        }));
        begun.await.expect("the hash began");
        left.abort();
        assert!(left.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(hasher.places.available_permits(), 0, "its thread is still at work");
        drop(release);
        let place = hasher.place().await.expect("the place of who left is free once its work is over");
        assert_eq!(computed_at(place, |_| Ok(7)).await.ok(), Some(7));
    }
}
