//! argon2id over peppered PINs: 19 MiB, 2 passes, 1 lane (OWASP), on blocking threads, a few at a time.
//!
//! Invariant: at most `at_once` hashes hold memory at any moment; who waits longer than [`PATIENCE`] is turned away.
//! Their memory is kept and used again: given back to the allocator, each thread's share of it would keep some, and a rush of PINs
//! would leave the process with many times what it may hold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{Error as HashError, Output, ParamsString, PasswordHash, SaltString};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    memory: Memory,
    patience: Duration,
}

/// The right to compute one hash, and the memory for it.
pub(crate) struct Place {
    memory: Memory,
    _permit: OwnedSemaphorePermit,
}

/// Memory of hashes that are not computed now.
///
/// Lock: held for a push or a pop, never while hashing.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Vec<Block>>>>);

impl Memory {
    /// Computes with memory that was used before, or new.
    fn with<T>(&self, work: impl FnOnce(&mut [Block]) -> T) -> T {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut blocks = kept.unwrap_or_else(|| vec![Block::default(); MEMORY_KIB as usize]);
        let result = work(&mut blocks);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(blocks);
        result
    }
}

impl Hasher {
    /// Allows `at_once` hashes at a time.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once)), memory: Memory::default(), patience: PATIENCE }
    }

    /// How many places are taken.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        crate::config::Config::default().pin_hashes_at_once - self.places.available_permits()
    }

    /// Waits for a place.
    pub(crate) async fn place(&self) -> Result<Place, Error> {
        match tokio::time::timeout(self.patience, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { memory: self.memory.clone(), _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(Error::PinBusy),
        }
    }

    /// Hashes a peppered PIN into a PHC string.
    pub(crate) async fn hash(&self, peppered: Digest) -> Result<String, Error> {
        let place = self.place().await?;
        blocking(place, move |memory| {
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
        blocking(self, move |memory| {
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

fn computed(memory: &Memory, peppered: &Digest, salt: &[u8]) -> Result<[u8; Params::DEFAULT_OUTPUT_LEN], HashError> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params()?);
    let mut hash = [0; Params::DEFAULT_OUTPUT_LEN];
    memory.with(|blocks| argon2.hash_password_into_with_memory(peppered, salt, &mut hash, blocks))?;
    Ok(hash)
}

/// Runs a hash on a blocking thread that holds its place until it is done, also when nobody waits any more.
async fn blocking<T: Send + 'static>(
    place: Place,
    work: impl FnOnce(&Memory) -> Result<T, HashError> + Send + 'static,
) -> Result<T, Error> {
    let work = move || {
        // The whole of it moves here, so that its place is taken for as long as its memory is used.
        let place = place;
        work(&place.memory)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| Error::Hashing(error.to_string())),
        Err(error) => Err(Error::Hashing(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

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
    async fn hashes_that_others_compute_are_the_same() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let theirs = Argon2::new(Algorithm::Argon2id, Version::V0x13, params().expect("constant"));
        let salt = SaltString::encode_b64(&[5; 16]).expect("16 bytes");
        let hash = theirs.hash_password(&[7; 32], &salt).expect("hashes").to_string();
        let hasher = Hasher::new(1);
        for _ in 0..2 {
            let place = hasher.place().await.expect("a place");
            assert!(
                place.verify([7; 32], hash.clone()).await.expect("verifies"),
                "also with memory that was used before"
            );
        }
        let ours = hasher.hash([7; 32]).await.expect("hashes");
        theirs.verify_password(&[7; 32], &PasswordHash::new(&ours).expect("a PHC string")).expect("the same");
        assert_eq!(hasher.memory.0.lock().expect("nobody panics").len(), 1, "one place, one memory");
    }

    #[tokio::test]
    async fn a_broken_hash_is_an_error_and_no_answer() {
        let place = Hasher::new(1).place().await.expect("a place");
        assert!(place.verify([7; 32], "no hash".to_owned()).await.is_err());
        let weaker = "$argon2id$v=19$m=8,t=1,p=1$BQUFBQUFBQUFBQUFBQUFBQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let place = Hasher::new(1).place().await.expect("a place");
        assert!(place.verify([7; 32], weaker.to_owned()).await.is_err(), "not one of ours");
    }

    #[tokio::test]
    async fn who_waits_too_long_is_turned_away() {
        let hasher = Hasher { patience: Duration::from_millis(1), ..Hasher::new(1) };
        let _held = hasher.place().await.expect("a place");
        assert!(matches!(hasher.place().await, Err(Error::PinBusy)));
    }

    #[tokio::test]
    async fn a_panic_and_a_caller_who_left_cost_no_place() {
        let hasher = Hasher::new(1);
        let panicked = blocking::<u8>(hasher.place().await.expect("a place"), |_| {
            std::panic::resume_unwind(Box::new("on purpose"))
        });
        assert!(matches!(panicked.await, Err(Error::Hashing(_))));
        assert_eq!(hasher.places.available_permits(), 1);
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (release, held) = mpsc::channel::<()>();
        let place = hasher.place().await.expect("a place");
        let left = tokio::spawn(blocking(place, move |_| {
            begin.send(()).map_err(|()| HashError::Password)?;
            held.recv().map_err(|_| HashError::Password)
        }));
        begun.await.expect("the hash began");
        left.abort();
        assert!(left.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(hasher.places.available_permits(), 0, "its hash is still computed");
        drop(release);
        let place = hasher.place().await.expect("the place of who left is free once the work is over");
        assert_eq!(blocking(place, |_| Ok(7)).await.ok(), Some(7));
    }
}
