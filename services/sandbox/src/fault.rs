//! What goes wrong when a test asks for it.
//!
//! A fault is set per outside party and strikes its partner-facing requests, each of them or the next `times`.
//! Invariant: every wait is bounded by [`MAX_WAIT`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::refusal::{Refusal, parse};
use crate::world::World;

/// The longest a request or a callback is held back, whatever was asked for; longer than any client's deadline.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

/// A fault as a test asks for it; every field may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fault {
    /// Every request waits so long first.
    pub(crate) delay_ms: u64,
    /// This part of requests (0 to 1) is answered 500.
    pub(crate) error_rate: f64,
    /// Requests are not answered within any client's patience.
    pub(crate) timeout: bool,
    /// An error or timeout strikes after the request took effect instead of before.
    pub(crate) error_after_effect: bool,
    /// A callback is delivered twice.
    pub(crate) duplicate: bool,
    /// A callback is never delivered.
    pub(crate) drop_callback: bool,
    /// A callback waits so long first.
    pub(crate) callback_delay_ms: u64,
    /// How many more requests the fault strikes; without it, all until it is cleared.
    pub(crate) times: Option<u32>,
}

impl Fault {
    fn validate(&self) -> Result<(), Refusal> {
        if !(0.0..=1.0).contains(&self.error_rate) {
            return Err(Refusal::invalid_field("error_rate must be between 0 and 1"));
        }
        let max_ms = u64::try_from(MAX_WAIT.as_millis()).unwrap_or(u64::MAX);
        if self.delay_ms > max_ms || self.callback_delay_ms > max_ms {
            return Err(Refusal::invalid_field(format!("delays are at most {max_ms} ms")));
        }
        if self.times == Some(0) {
            return Err(Refusal::invalid_field("times must be at least 1; DELETE clears a fault"));
        }
        Ok(())
    }
}

/// Where a fault strikes one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strike {
    None,
    Error,
    Hang,
}

/// What the fault in force does to one request and its callback.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    delay: Duration,
    strike: Strike,
    after_effect: bool,
    /// What happens to the callback that the request leads to.
    pub(crate) callback: CallbackCourse,
}

/// What happens to one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallbackCourse {
    /// How long it waits first.
    pub(crate) delay: Duration,
    /// How many times it is delivered: 0, 1 or 2.
    pub(crate) deliveries: u8,
}

impl Course {
    fn of(fault: &Fault, chance: f64) -> Self {
        let strike = match fault {
            Fault { timeout: true, .. } => Strike::Hang,
            Fault { error_rate, .. } if chance < *error_rate => Strike::Error,
            _ => Strike::None,
        };
        let deliveries = match fault {
            Fault { drop_callback: true, .. } => 0,
            Fault { duplicate: true, .. } => 2,
            _ => 1,
        };
        Self {
            delay: Duration::from_millis(fault.delay_ms),
            strike,
            after_effect: fault.error_after_effect,
            callback: CallbackCourse { delay: Duration::from_millis(fault.callback_delay_ms), deliveries },
        }
    }

    /// What comes before the request's effect.
    pub(crate) async fn before_effect(&self) -> Result<(), Refusal> {
        tokio::time::sleep(self.delay).await;
        if self.after_effect { Ok(()) } else { self.strike().await }
    }

    /// What comes after it.
    pub(crate) async fn after_effect(&self) -> Result<(), Refusal> {
        if self.after_effect { self.strike().await } else { Ok(()) }
    }

    async fn strike(&self) -> Result<(), Refusal> {
        match self.strike {
            Strike::None => Ok(()),
            Strike::Error => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "sandbox-fault", "as you asked")),
            Strike::Hang => {
                tokio::time::sleep(MAX_WAIT).await;
                Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "sandbox-fault", "as you asked, late"))
            }
        }
    }
}

/// The fault in force at one outside party. Cheap to clone; clones are one slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultSlot(Arc<Mutex<Option<Fault>>>);

impl FaultSlot {
    /// The course of one more request; counts it against `times`.
    pub(crate) fn strike(&self) -> Course {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = slot.clone().unwrap_or_default();
        if let Some(times) = fault.times {
            *slot = (times > 1).then(|| Fault { times: Some(times - 1), ..fault.clone() });
        }
        Course::of(&fault, rand::random())
    }

    fn set(&self, fault: Option<Fault>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn current(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self) -> Response {
        axum::Json(self.current()).into_response()
    }

    fn replace(&self, body: &[u8]) -> Result<Response, Refusal> {
        let fault: Fault = parse(body)?;
        fault.validate()?;
        self.set(Some(fault.clone()));
        Ok(axum::Json(fault).into_response())
    }

    fn clear(&self) -> StatusCode {
        self.set(None);
        StatusCode::NO_CONTENT
    }
}

/// `GET`, `POST` and `DELETE` of the fault slot that `slot` picks.
pub(crate) fn routes(slot: fn(&World) -> &FaultSlot) -> MethodRouter<World> {
    get(async move |State(world): State<World>| slot(&world).show())
        .post(async move |State(world): State<World>, body: Bytes| slot(&world).replace(&body))
        .delete(async move |State(world): State<World>| slot(&world).clear())
}

/// The same for one of many slots, which the path names.
pub(crate) fn routes_by_name(slot: fn(&World, &str) -> Result<FaultSlot, Refusal>) -> MethodRouter<World> {
    get(async move |State(world): State<World>, Path(name): Path<String>| Ok::<_, Refusal>(slot(&world, &name)?.show()))
        .post(async move |State(world): State<World>, Path(name): Path<String>, body: Bytes| {
            slot(&world, &name)?.replace(&body)
        })
        .delete(async move |State(world): State<World>, Path(name): Path<String>| {
            Ok::<_, Refusal>(slot(&world, &name)?.clear())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_as_often_as_asked() {
        let slot = FaultSlot::default();
        slot.set(Some(Fault { error_rate: 1.0, times: Some(2), ..Fault::default() }));
        let strikes: Vec<_> = (0..3).map(|_| slot.strike().strike).collect();
        assert_eq!(strikes, [Strike::Error, Strike::Error, Strike::None]);
        assert!(slot.current().is_none());
    }

    #[test]
    fn chance_decides_by_the_rate() {
        let fault = Fault { error_rate: 0.5, ..Fault::default() };
        assert_eq!(Course::of(&fault, 0.49).strike, Strike::Error);
        assert_eq!(Course::of(&fault, 0.5).strike, Strike::None);
        assert_eq!(Course::of(&Fault::default(), 0.0).strike, Strike::None);
    }

    #[test]
    fn unbounded_faults_are_refused() {
        for fault in [
            Fault { error_rate: 1.5, ..Fault::default() },
            Fault { error_rate: f64::NAN, ..Fault::default() },
            Fault { delay_ms: 60_001, ..Fault::default() },
            Fault { times: Some(0), ..Fault::default() },
        ] {
            assert!(fault.validate().is_err(), "{fault:?}");
        }
    }
}
