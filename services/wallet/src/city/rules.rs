//! Dated rules of money: limits, step-up, refunds, new devices, tiers.
//!
//! VAT and tariffs stand beside them, but price what billers ask for and concern no wallet.
//!
//! Everything is read and checked at start; a lookup is pure and takes the date of the payment in the city's zone.

mod check;
mod ladder;

use std::fs;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use platform::dataset::dated::{self, in_force};
use platform::dataset::{Day, Document, Fault, Faults, Spanned};
use platform::dated;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::ladder::{Ask, Ladder, Rung};

/// Rule files that billers price by.
const READ_ELSEWHERE: [&str; 3] = ["electricity.toml", "water.toml", "vat.toml"];

/// How well a citizen can be known: 0 phone proved, 1 citizen identity number proved, 2 proved in person.
pub const TIERS: [u8; 3] = [0, 1, 2];

/// What money is moved for, as far as rules tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// To another person.
    Transfer,
    /// From a bank into the wallet.
    TopUp,
    /// From the wallet to a bank.
    Withdrawal,
    /// Goods and services, bills and fees.
    Goods,
}

/// The class of a payment in the rules on limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitClass {
    /// Everything that is not essential.
    General,
    /// Public services, electricity, water and the like (Circular 41/2025/TT-NHNN).
    Essential,
}

/// A proof that a citizen gives for one payment, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "kebab-case")]
#[sqlx(type_name = "text", rename_all = "kebab-case")]
pub enum Proof {
    /// A second factor: PIN, or the device's own check.
    Pin,
    /// A passkey, or a face compared with the identity document.
    Biometric,
    /// Biometric, and a digital signature or a registered device.
    Signature,
}

impl Proof {
    /// The name in the database and in rules.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Biometric => "biometric",
            Self::Signature => "signature",
        }
    }
}

/// What a limit bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// One payment.
    Transaction,
    /// All payments of a day together.
    Day,
    /// All payments of a month together.
    Month,
}

impl Period {
    /// Every period, the shortest first.
    pub const ALL: [Self; 3] = [Self::Transaction, Self::Day, Self::Month];
}

/// The most that one citizen may move in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maximum {
    /// The class that the rule names.
    pub class: LimitClass,
    /// Whether payments of the other classes count for it too, because they have no rule of their own.
    pub alone: Alone,
    /// The period.
    pub period: Period,
    /// How much.
    pub amount: i64,
}

/// Whether a maximum is for its class alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// It is.
    Yes,
    /// It bounds all classes together.
    WithTheRest,
}

/// What a device that was bound a short while ago may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolDown<'a> {
    /// What it bounds, taken together.
    pub kinds: &'a [Kind],
    /// How long the lower limit lasts after the device was bound.
    pub hours: u32,
    /// The most that may be moved in a day with such a device; what the citizen moved with others that day counts.
    pub day_maximum: i64,
}

/// What may be moved in a day without a further proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unproved<'a> {
    /// What counts, taken together.
    pub kinds: &'a [Kind],
    /// How much.
    pub day_maximum: i64,
    /// What more asks for.
    pub proof: Proof,
}

/// A positive whole amount of minor units, written as a string of digits.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Amount(i64);

impl TryFrom<String> for Amount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(value) if digits && value > 0 => Ok(Self(value)),
            _ => Err(format!("{text:?} is not a whole positive amount such as \"150000\"")),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    class: LimitClass,
    tiers: Spanned<Vec<u8>>,
    period: Period,
    maximum: Amount,
    begins: Spanned<Day>,
    ends: Option<Spanned<Day>>,
    source: Spanned<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepUp {
    kinds: Spanned<Vec<Kind>>,
    rungs: Vec<RungText>,
    begins: Spanned<Day>,
    ends: Option<Spanned<Day>>,
    source: Spanned<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RungText {
    proof: Spanned<Proof>,
    single_above: Option<Amount>,
    day_above: Option<Amount>,
}

impl StepUp {
    fn ladder(&self) -> Ladder {
        let rung = |rung: &RungText| Rung {
            proof: *rung.proof.get_ref(),
            single_above: rung.single_above.map(|amount| amount.0),
            day_above: rung.day_above.map(|amount| amount.0),
        };
        Ladder(self.rungs.iter().map(rung).collect())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefundLimit {
    kinds: Spanned<Vec<Kind>>,
    gives_back: bool,
    begins: Spanned<Day>,
    ends: Option<Spanned<Day>>,
    source: Spanned<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoolDownRule {
    kinds: Spanned<Vec<Kind>>,
    hours: u32,
    day_maximum: Amount,
    begins: Spanned<Day>,
    ends: Option<Spanned<Day>>,
    source: Spanned<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    level: Spanned<u8>,
    name: TierName,
    begins: Spanned<Day>,
    ends: Option<Spanned<Day>>,
    source: Spanned<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierName {
    vi: String,
    en: String,
}

fn kinds(kinds: &Spanned<Vec<Kind>>) -> Vec<String> {
    kinds.get_ref().iter().map(|kind| format!("{kind:?}")).collect()
}

dated!(Limit, |rule| rule
    .tiers
    .get_ref()
    .iter()
    .map(|tier| format!("{:?}, tier {tier}, {:?}", rule.class, rule.period))
    .collect());
dated!(StepUp, |rule| kinds(&rule.kinds));
dated!(RefundLimit, |rule| kinds(&rule.kinds));
dated!(CoolDownRule, |rule| kinds(&rule.kinds));
dated!(Tier, |rule| vec![format!("tier {}", rule.level.get_ref())]);

macro_rules! file_of {
    ($file:ident, $key:ident: $rule:ty) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $file {
            $key: Vec<$rule>,
        }
    };
}
file_of!(LimitsFile, limit: Limit);
file_of!(StepUpFile, step_up: StepUp);
file_of!(RefundFile, refund_limit: RefundLimit);
file_of!(NewDeviceFile, cool_down: CoolDownRule);
file_of!(TiersFile, tier: Tier);

/// Every rule of a city's folder that the wallet follows.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    limits: Vec<Limit>,
    step_ups: Vec<StepUp>,
    refund_limits: Vec<RefundLimit>,
    cool_downs: Vec<CoolDownRule>,
    tiers: Vec<Tier>,
}

impl Rules {
    /// Reads and checks `rules/*.toml` of a city's folder.
    pub fn load(dir: &Path) -> Result<Self, Faults> {
        let (rules, faults) = read(dir);
        if faults.is_empty() { Ok(rules) } else { Err(Faults(faults)) }
    }

    /// What a citizen of a tier may move on a day; `None` while no general rule for a transaction and a month is in force (then nothing may be moved).
    ///
    /// A class without a rule of its own for a period counts for the one of [`LimitClass::General`]. A day has a rule only where the operator wants one.
    pub fn maxima(&self, date: NaiveDate, tier: u8) -> Option<Vec<Maximum>> {
        let mut maxima = Vec::new();
        for period in Period::ALL {
            let own = self.limit(date, tier, LimitClass::Essential, period);
            let alone = if own.is_some() { Alone::Yes } else { Alone::WithTheRest };
            match self.limit(date, tier, LimitClass::General, period) {
                Some(amount) => maxima.push(Maximum { class: LimitClass::General, alone, period, amount }),
                None if period == Period::Day => {}
                None => return None,
            }
            let essential = |amount| Maximum { class: LimitClass::Essential, alone: Alone::Yes, period, amount };
            maxima.extend(own.map(essential));
        }
        Some(maxima)
    }

    /// The most that one payment of a tier may be.
    pub fn transaction_maximum(&self, date: NaiveDate, tier: u8, class: LimitClass) -> Option<i64> {
        let general = || self.limit(date, tier, LimitClass::General, Period::Transaction);
        self.limit(date, tier, class, Period::Transaction).or_else(general)
    }

    fn limit(&self, date: NaiveDate, tier: u8, class: LimitClass, period: Period) -> Option<i64> {
        let rules = self
            .limits
            .iter()
            .filter(|rule| rule.class == class && rule.period == period && rule.tiers.get_ref().contains(&tier));
        in_force(rules, date).map(|rule| rule.maximum.0)
    }

    /// The ladder of proofs of a kind; empty while no rule is in force.
    pub fn ladder(&self, kind: Kind, date: NaiveDate) -> Ladder {
        self.step_up_rule(kind, date).map(StepUp::ladder).unwrap_or_default()
    }

    fn step_up_rule(&self, kind: Kind, date: NaiveDate) -> Option<&StepUp> {
        in_force(self.step_ups.iter().filter(|rule| rule.kinds.get_ref().contains(&kind)), date)
    }

    /// What may be moved in a day of the kinds that share a ladder with this one, with the proof `held`, before it asks for more.
    pub fn unproved(&self, kind: Kind, date: NaiveDate, held: Option<Proof>) -> Option<Unproved<'_>> {
        let rule = self.step_up_rule(kind, date)?;
        let Ask { proof, above } = rule.ladder().day_maximum(held)?;
        Some(Unproved { kinds: rule.kinds.get_ref(), day_maximum: above, proof })
    }

    /// Whether a refund gives back the limit that its payment used; without a rule it does not.
    pub fn refund_gives_back(&self, kind: Kind, date: NaiveDate) -> bool {
        let rules = self.refund_limits.iter().filter(|rule| rule.kinds.get_ref().contains(&kind));
        in_force(rules, date).is_some_and(|rule| rule.gives_back)
    }

    /// The lower limit of a newly bound device, if there is one for this kind.
    pub fn cool_down(&self, kind: Kind, date: NaiveDate) -> Option<CoolDown<'_>> {
        let rules = self.cool_downs.iter().filter(|rule| rule.kinds.get_ref().contains(&kind));
        let rule = in_force(rules, date)?;
        Some(CoolDown { kinds: rule.kinds.get_ref(), hours: rule.hours, day_maximum: rule.day_maximum.0 })
    }

    /// The name of a tier in Vietnamese and in English.
    pub fn tier_name(&self, level: u8, date: NaiveDate) -> Option<(&str, &str)> {
        let rules = self.tiers.iter().filter(|rule| *rule.level.get_ref() == level);
        in_force(rules, date).map(|rule| (rule.name.vi.as_str(), rule.name.en.as_str()))
    }
}

pub(super) fn read(dir: &Path) -> (Rules, Vec<Fault>) {
    let mut reading = Reading { dir: dir.join("rules"), read: Vec::new(), faults: Vec::new() };
    let rules = Rules {
        limits: reading.file("limits.toml", |file: &LimitsFile| &file.limit, check::limit_faults),
        step_ups: reading.file("step-up.toml", |file: &StepUpFile| &file.step_up, check::step_up_faults),
        refund_limits: reading.file("refund-limit.toml", |file: &RefundFile| &file.refund_limit, |_| vec![]),
        cool_downs: reading.file("new-device.toml", |file: &NewDeviceFile| &file.cool_down, |_| vec![]),
        tiers: reading.file("tiers.toml", |file: &TiersFile| &file.tier, check::tier_faults),
    };
    reading.unread();
    (rules, reading.faults)
}

struct Reading {
    dir: PathBuf,
    read: Vec<PathBuf>,
    faults: Vec<Fault>,
}

impl Reading {
    /// A rule in a file that nobody reads would be believed to hold.
    fn unread(&mut self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let theirs = |path: &PathBuf| READ_ELSEWHERE.iter().any(|name| path.ends_with(name));
        let unread = |path: &PathBuf| !self.read.contains(path) && !theirs(path);
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(unread) {
            self.faults.push(Fault::new(&path, 0, "no rule file of this name is read"));
        }
    }

    fn file<D, R>(&mut self, name: &str, rules: fn(&D) -> &Vec<R>, faults: fn(&Document<D>) -> Vec<Fault>) -> Vec<R>
    where
        D: DeserializeOwned,
        R: dated::Dated + Clone,
    {
        let path = self.dir.join(name);
        self.read.push(path.clone());
        let (rules, faults) = dated::read(&path, rules, faults);
        self.faults.extend(faults);
        rules
    }
}
