//! Everything the sandbox remembers, and what its tasks need. Cheap to clone.
//!
//! Locks: one mutex per outside party, never two at once, never across an await.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::clock::Clock;
use platform::task::Shutdown;
use tokio_util::task::TaskTracker;

use crate::bank::Bank;
use crate::callback::Callbacks;
use crate::config::Config;
use crate::fault::FaultSlot;
use crate::push::PushGateway;
use crate::sms::SmsGateway;

/// How long a stopping sandbox waits for callbacks that are on their way.
const FINISH_WITHIN: Duration = Duration::from_secs(6);

/// The outside world.
#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    clock: Clock,
    callbacks: Callbacks,
    tasks: TaskTracker,
    bank: Mutex<Bank>,
    bank_faults: FaultSlot,
    sms: Mutex<SmsGateway>,
    sms_faults: FaultSlot,
    push: Mutex<PushGateway>,
    push_faults: FaultSlot,
}

impl World {
    /// A fresh world whose tasks stop with `shutdown`.
    pub(crate) fn new(config: Config, clock: Clock, shutdown: &Shutdown) -> Self {
        Self(Arc::new(Inner {
            config,
            callbacks: Callbacks::new(clock.clone(), shutdown.clone()),
            clock,
            tasks: TaskTracker::new(),
            bank: Mutex::new(Bank::new()),
            bank_faults: FaultSlot::default(),
            sms: Mutex::new(SmsGateway::new()),
            sms_faults: FaultSlot::default(),
            push: Mutex::new(PushGateway::new()),
            push_faults: FaultSlot::default(),
        }))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn callbacks(&self) -> &Callbacks {
        &self.0.callbacks
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(crate) fn bank(&self) -> MutexGuard<'_, Bank> {
        self.0.bank.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bank_faults(&self) -> &FaultSlot {
        &self.0.bank_faults
    }

    pub(crate) fn sms(&self) -> MutexGuard<'_, SmsGateway> {
        self.0.sms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sms_faults(&self) -> &FaultSlot {
        &self.0.sms_faults
    }

    pub(crate) fn push(&self) -> MutexGuard<'_, PushGateway> {
        self.0.push.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push_faults(&self) -> &FaultSlot {
        &self.0.push_faults
    }

    /// Waits for running callbacks, at most [`FINISH_WITHIN`].
    pub(crate) async fn finish(&self) {
        self.0.tasks.close();
        if tokio::time::timeout(FINISH_WITHIN, self.0.tasks.wait()).await.is_err() {
            tracing::info!("callbacks did not end in time and are dropped");
        }
    }
}
