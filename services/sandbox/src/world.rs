//! Everything the sandbox remembers, and what its tasks need. Cheap to clone.
//!
//! Locks: one mutex per outside party, never two at once, never across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::clock::Clock;
use platform::task::Shutdown;
use tokio_util::task::TaskTracker;

use crate::agency::Mailbox;
use crate::bank::Bank;
use crate::biller::{Book, Profile};
use crate::callback::{Callback, Callbacks};
use crate::config::Config;
use crate::ekyc::Registry;
use crate::fault::{CallbackCourse, FaultSlot};
use crate::push::PushGateway;
use crate::sms::SmsGateway;
use crate::vneid::Provider;

/// Callbacks that are still to come, at most; what would lead to more is refused until some are done.
const MAX_PENDING: usize = 50_000;
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
    billers: HashMap<String, Biller>,
    mailbox: Mutex<Mailbox>,
    sms: Mutex<SmsGateway>,
    sms_faults: FaultSlot,
    push: Mutex<PushGateway>,
    push_faults: FaultSlot,
    people: Mutex<Registry>,
    ekyc_faults: FaultSlot,
    vneid: Mutex<Provider>,
    vneid_faults: FaultSlot,
}

/// One biller: who it is, its books, and what goes wrong with it.
#[derive(Debug)]
pub(crate) struct Biller {
    pub(crate) profile: Profile,
    pub(crate) faults: FaultSlot,
    book: Mutex<Book>,
}

impl Biller {
    fn new(profile: &Profile) -> Self {
        Self { profile: profile.clone(), faults: FaultSlot::default(), book: Mutex::new(Book::new(profile)) }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// A fresh world whose tasks stop with `shutdown`.
    pub(crate) fn new(config: Config, clock: Clock, shutdown: &Shutdown) -> Self {
        let billers = config.billers.profiles.iter();
        let billers = billers.map(|profile| (profile.code.clone(), Biller::new(profile))).collect();
        Self(Arc::new(Inner {
            config,
            callbacks: Callbacks::new(clock.clone(), shutdown.clone()),
            clock,
            tasks: TaskTracker::new(),
            bank: Mutex::new(Bank::new()),
            bank_faults: FaultSlot::default(),
            billers,
            mailbox: Mutex::new(Mailbox::new()),
            sms: Mutex::new(SmsGateway::new()),
            sms_faults: FaultSlot::default(),
            push: Mutex::new(PushGateway::new()),
            push_faults: FaultSlot::default(),
            people: Mutex::new(Registry::new()),
            ekyc_faults: FaultSlot::default(),
            vneid: Mutex::new(Provider::new()),
            vneid_faults: FaultSlot::default(),
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

    /// Whether so many callbacks are to come that no more should be promised.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.tasks.len() >= MAX_PENDING
    }

    /// Delivers a callback in the background.
    pub(crate) fn call_back(&self, callback: Callback, course: CallbackCourse) {
        let world = self.clone();
        self.0.tasks.spawn(async move { world.callbacks().deliver(&callback, course).await });
    }

    /// The biller of a code.
    pub(crate) fn biller(&self, code: &str) -> Option<&Biller> {
        self.0.billers.get(code)
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

    pub(crate) fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.0.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
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

    pub(crate) fn people(&self) -> MutexGuard<'_, Registry> {
        self.0.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ekyc_faults(&self) -> &FaultSlot {
        &self.0.ekyc_faults
    }

    pub(crate) fn vneid(&self) -> MutexGuard<'_, Provider> {
        self.0.vneid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn vneid_faults(&self) -> &FaultSlot {
        &self.0.vneid_faults
    }

    /// Waits for running callbacks, at most [`FINISH_WITHIN`].
    pub(crate) async fn finish(&self) {
        self.0.tasks.close();
        if tokio::time::timeout(FINISH_WITHIN, self.0.tasks.wait()).await.is_err() {
            tracing::info!("callbacks did not end in time and are dropped");
        }
    }
}
