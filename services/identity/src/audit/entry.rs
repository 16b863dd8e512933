//! What an act says of itself. Pure.
//!
//! Invariant: every text in an entry is an id, a word of ours, or an operator's reason that names nobody ([`Reason`]).

use std::fmt;
use std::net::IpAddr;

use uuid::Uuid;

use super::chain::Fields;
use super::reason::Reason;
use crate::citizen::CitizenId;
use crate::device::DeviceId;
use crate::session::SessionId;

/// The longest object, in characters. The database's CHECK says the same.
const MAX_OBJECT: usize = 200;

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A citizen, for themself.
    Citizen(CitizenId),
    /// An operator, by their login on the machine.
    Operator(String),
    /// The service by itself, by the name of the process.
    Service(String),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A number was proved for the first time.
    CitizenRegister,
    /// A profile was changed; the object names the fields.
    ProfileEdit,
    /// Somebody did not sign in: a wrong or used code, too many tries, VNeID did not vouch; the object is the challenge.
    SignInRefuse,
    /// A one-time code for something else than signing in was not good.
    CodeRefuse,
    /// A PIN was wrong, or not looked at yet.
    PinRefuse,
    /// A signature of a device or an answer of a passkey was not good.
    ProofRefuse,
    /// VNeID did not vouch for the caller, or their account there can't be linked.
    VneidRefuse,
    /// A citizen signed in on a device for the first time.
    DeviceAdd,
    /// A device was forgotten.
    DeviceRemove,
    /// A session began.
    SessionStart,
    /// A session ended before its time.
    SessionEnd,
    /// The first PIN was set.
    PinSet,
    /// A PIN was changed by who knew it.
    PinChange,
    /// A PIN was set by one-time code.
    PinReset,
    /// A transaction was proved; the object is the proof's id, the reason how.
    StepUp,
    /// The verifier of citizen numbers was asked; the object is the request.
    EkycAsk,
    /// It said something; the reason is what.
    EkycDecide,
    /// Everything that is held on a citizen was exported.
    DataExport,
    /// A citizen wants to leave; the object is the closing.
    ClosingAsk,
    /// The citizen stays.
    ClosingTakeBack,
    /// Everything but the citizen's id is being erased.
    ClosingErase,
    /// All services have erased.
    ClosingEnd,
    /// An account was linked to one at VNeID.
    VneidLink,
    /// The link was taken back.
    VneidUnlink,
    /// A citizen rose to a tier; the object is its number.
    TierChange,
    /// A passkey was registered.
    PasskeyAdd,
    /// A passkey was forgotten.
    PasskeyRemove,
    /// The first signing keys were made.
    KeyMake,
    /// A signing key took over; the object is its id.
    KeyRotate,
    /// A retired signing key was removed.
    KeyRemove,
    /// Dead letters were given another try.
    DeadLettersRedrive,
    /// A supervisor of field reports was appointed.
    SupervisorAppoint,
    /// A role was given to somebody; the object names it.
    RoleGrant,
    /// A role was taken from somebody.
    RoleRevoke,
    /// The audit was searched or exported.
    AuditRead,
    /// A client was registered.
    ClientRegister,
    /// A client was changed.
    ClientEdit,
    /// A client was given a new secret.
    ClientSecret,
    /// A client was disabled.
    ClientDisable,
    /// A citizen let a client know something.
    ConsentGive,
    /// A citizen took it back.
    ConsentWithdraw,
    /// A citizen proposed that one acts for another; the object is the delegation.
    DelegationPropose,
    /// The other confirmed it.
    DelegationConfirm,
    /// One of them ended it.
    DelegationEnd,
    /// The guardian got a token to act by.
    DelegationUse,
    /// An officer registered somebody without a telephone; the object is the registration.
    DependentRegister,
    /// Their guardian confirmed it.
    DependentConfirm,
    /// The guardian refused it, or an officer took it back.
    DependentEnd,
    /// A guardian gave a number to the account of somebody who had none.
    PhoneAttach,
    /// An officer proposed an act that moves money; the object is the proposal and its digest.
    ProposalMake,
    /// Another officer approved it.
    ProposalApprove,
    /// An officer refused it, or took their own back.
    ProposalRefuse,
    /// An officer published news of the city; the object is the item.
    NewsPublish,
}

impl Action {
    /// As it is stored: noun and verb.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CitizenRegister => "citizen.register",
            Self::ProfileEdit => "profile.edit",
            Self::SignInRefuse => "sign-in.refuse",
            Self::CodeRefuse => "code.refuse",
            Self::PinRefuse => "pin.refuse",
            Self::ProofRefuse => "proof.refuse",
            Self::VneidRefuse => "vneid.refuse",
            Self::DeviceAdd => "device.add",
            Self::DeviceRemove => "device.remove",
            Self::SessionStart => "session.start",
            Self::SessionEnd => "session.end",
            Self::PinSet => "pin.set",
            Self::PinChange => "pin.change",
            Self::PinReset => "pin.reset",
            Self::StepUp => "step-up.prove",
            Self::EkycAsk => "ekyc.ask",
            Self::EkycDecide => "ekyc.decide",
            Self::DataExport => "data.export",
            Self::ClosingAsk => "closing.ask",
            Self::ClosingTakeBack => "closing.take-back",
            Self::ClosingErase => "closing.erase",
            Self::ClosingEnd => "closing.end",
            Self::VneidLink => "vneid.link",
            Self::VneidUnlink => "vneid.unlink",
            Self::TierChange => "tier.change",
            Self::PasskeyAdd => "passkey.add",
            Self::PasskeyRemove => "passkey.remove",
            Self::KeyMake => "key.make",
            Self::KeyRotate => "key.rotate",
            Self::KeyRemove => "key.remove",
            Self::DeadLettersRedrive => "dead-letters.redrive",
            Self::SupervisorAppoint => "supervisor.appoint",
            Self::RoleGrant => "role.grant",
            Self::RoleRevoke => "role.revoke",
            Self::AuditRead => "audit.read",
            Self::ClientRegister => "client.register",
            Self::ClientEdit => "client.edit",
            Self::ClientSecret => "client.secret",
            Self::ClientDisable => "client.disable",
            Self::ConsentGive => "consent.give",
            Self::ConsentWithdraw => "consent.withdraw",
            Self::DelegationPropose => "delegation.propose",
            Self::DelegationConfirm => "delegation.confirm",
            Self::DelegationEnd => "delegation.end",
            Self::DelegationUse => "delegation.use",
            Self::DependentRegister => "dependent.register",
            Self::DependentConfirm => "dependent.confirm",
            Self::DependentEnd => "dependent.end",
            Self::PhoneAttach => "phone.attach",
            Self::ProposalMake => "proposal.make",
            Self::ProposalApprove => "proposal.approve",
            Self::ProposalRefuse => "proposal.refuse",
            Self::NewsPublish => "news.publish",
        }
    }
}

/// Where a request of an app came from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    /// The client's address, if the transport says.
    pub address: Option<IpAddr>,
    /// The session whose token came with it.
    pub session: Option<SessionId>,
    /// The device, where it is known.
    pub device: Option<DeviceId>,
}

/// Where an act came from, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    channel: &'static str,
    place: String,
    session: Option<SessionId>,
    device: Option<DeviceId>,
}

impl Source {
    /// An app; `place` is the keyed digest of its address.
    pub(crate) fn app(place: String, origin: Origin) -> Self {
        Self { channel: "app", place, session: origin.session, device: origin.device }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// A command on a machine.
    fn command(host: &str) -> Self {
        Self { channel: "command", place: shorten(host), session: None, device: None }
    }

    /// A process, by itself.
    pub(crate) fn schedule(instance: &str) -> Self {
        Self { channel: "schedule", place: shorten(instance), session: None, device: None }
    }
}

/// Who has something done, from where and why, when it is not a citizen.
#[derive(Clone, Debug)]
pub(crate) struct Behest {
    pub actor: Actor,
    pub source: Source,
    pub reason: String,
}

impl Behest {
    /// The process does it by itself.
    pub(crate) fn of_process(instance: &str, reason: &str) -> Self {
        Self { actor: Actor::Service(shorten(instance)), source: Source::schedule(instance), reason: reason.to_owned() }
    }
}

/// One act.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    actor: Actor,
    action: Action,
    subject: Option<CitizenId>,
    object: String,
    source: Source,
    reason: String,
}

impl Entry {
    /// Something that a citizen did, or that was done to their things.
    pub(crate) fn of(citizen: CitizenId, action: Action, object: impl fmt::Display, source: &Source) -> Self {
        Self {
            actor: Actor::Citizen(citizen),
            action,
            subject: Some(citizen),
            object: shorten(&object.to_string()),
            source: source.clone(),
            reason: "asked".to_owned(),
        }
    }

    /// Something that was done at somebody's behest.
    pub(crate) fn at(behest: &Behest, action: Action, object: impl fmt::Display) -> Self {
        Self {
            actor: behest.actor.clone(),
            action,
            subject: None,
            object: shorten(&object.to_string()),
            source: behest.source.clone(),
            reason: behest.reason.clone(),
        }
    }

    /// Says whom it concerns.
    pub(crate) fn about(mut self, citizen: CitizenId) -> Self {
        self.subject = Some(citizen);
        self
    }

    /// Something else that was done by the same request, to something else.
    pub(crate) fn like(&self, action: Action, object: impl fmt::Display) -> Self {
        Self { action, object: shorten(&object.to_string()), ..self.clone() }
    }

    /// Says why.
    pub(crate) fn because(mut self, reason: &'static str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    /// Says that the service did it by itself.
    pub(crate) fn by_service(mut self, instance: &str) -> Self {
        self.actor = Actor::Service(shorten(instance));
        self
    }

    /// What was done, and why, in our own words.
    pub(super) fn what_and_why(&self) -> (&'static str, &str) {
        (self.action.as_str(), &self.reason)
    }

    /// From where.
    pub(super) fn place(&self) -> &str {
        self.source.place()
    }

    pub(super) fn fields(&self) -> Fields {
        let (actor_kind, actor) = match &self.actor {
            Actor::Citizen(id) => ("citizen", id.to_string()),
            Actor::Operator(login) => ("operator", login.clone()),
            Actor::Service(name) => ("service", name.clone()),
        };
        Fields {
            actor_kind: actor_kind.to_owned(),
            actor,
            action: self.action.as_str().to_owned(),
            subject: self.subject.map(|id| id.uuid()),
            object: self.object.clone(),
            channel: self.source.channel.to_owned(),
            place: self.source.place.clone(),
            session_id: self.source.session.map(|id| id.uuid()),
            device_id: self.source.device.map(|id| id.uuid()),
            reason: self.reason.clone(),
        }
    }
}

/// What an operator does by hand.
#[derive(Clone, Debug)]
pub struct OperatorAct {
    /// Their login on the machine.
    pub operator: String,
    /// The machine.
    pub host: String,
    /// What is done.
    pub action: Action,
    /// The citizen or officer whom it concerns.
    pub subject: Option<Uuid>,
    /// What it is done to: ids and kinds.
    pub object: String,
    /// Why.
    pub reason: Reason,
}

impl OperatorAct {
    pub(super) fn entry(&self) -> Entry {
        let subject = self.subject.map(CitizenId::from);
        Entry { subject, ..Entry::at(&self.behest(), self.action, &self.object) }
    }

    pub(crate) fn behest(&self) -> Behest {
        Behest {
            actor: Actor::Operator(self.operator.chars().take(100).collect()),
            source: Source::command(&self.host),
            reason: self.reason.to_string(),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_OBJECT).collect()
}
