//! Who gives somebody power over their own money proves that it is them, as for a new credential.
//!
//! What a guardian pays is proved by the guardian and on the guardian's device: nothing of the dependent stands behind it but this.
//! So it needs a recent sign-in, a PIN that does not cool down, and a device that is not new: whoever took a number over has none of
//! them before its owner had time to notice.

use platform::auth::Principal;

use super::sql;
use crate::Identity;
use crate::config::Lifetimes;
use crate::error::Error;
use crate::pin::strength::Pin;

impl Identity {
    /// Lets the caller give power over their own money. No lock may be held: a PIN is hashed.
    pub(super) async fn admit_power(&self, caller: &Principal, pin: Option<&Pin>) -> Result<(), Error> {
        let (citizen, session) = (caller.subject.into(), caller.session.into());
        let device = sql::device_since(&mut *self.pool.acquire().await?, citizen, session).await?;
        let until = device
            .ok_or(Error::NotFound)?
            .map(|since| since + Lifetimes::span(self.config.lifetimes.pin_cooling_seconds));
        if let Some(until) = until.filter(|until| *until > self.now()) {
            return Err(Error::KeyCooling { until });
        }
        if self.admit_new_credential(caller, pin).await?.pin_set { Ok(()) } else { Err(Error::PinNotSet) }
    }
}
