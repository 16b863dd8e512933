//! What utilities ask for what was used, by the city's dated rule files: prices that rise with the month's use, and VAT on top. Pure after reading.
//!
//! | file | rule |
//! | --- | --- |
//! | `rules/electricity.toml`, `rules/water.toml` | `tariff`: steps of use and their price, before VAT |
//! | `rules/vat.toml` | `vat`: the tax in percent by class of supply |
//!
//! The rules in force on the day of the reading price all of it: a month in which a tariff changes is not split.
//! Rounding: the sum before VAT and the VAT are each rounded to whole đồng, halves away from zero.

#[cfg(test)]
mod tests;

use std::path::Path;

use chrono::NaiveDate;
use platform::dataset::dated::{self, in_force};
use platform::dataset::{Day, Document, Fault, Faults, Spanned};
use platform::dated;
use rust_decimal::prelude::ToPrimitive as _;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use crate::money::Dong;

/// The class of customers that the sandbox's billers have.
const HOUSEHOLD: &str = "household";
/// The most that a household can have used in a month: beyond any meter.
pub(crate) const MAX_USAGE: u32 = 1_000_000;

/// What a utility delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Utility {
    /// Metered in kWh.
    Electricity,
    /// Metered in m³.
    Water,
}

impl Utility {
    const ALL: [Self; 2] = [Self::Electricity, Self::Water];

    /// The utility of a biller's kind in the city's list.
    pub(crate) fn named(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|utility| utility.name() == kind)
    }

    /// The name in the city's files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Electricity => "electricity",
            Self::Water => "water",
        }
    }

    /// What use is counted in.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Electricity => "kWh",
            Self::Water => "m³",
        }
    }
}

/// Prices that rise with what was used in the month, before VAT.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tariff {
    class: String,
    begins: Spanned<Day>,
    ends: Option<Spanned<Day>>,
    source: Spanned<String>,
    /// Steps without gap or overlap, from 0 up; the last has no upper end.
    steps: Vec<Step>,
}

/// One step of a [`Tariff`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    above: Spanned<u32>,
    up_to: Option<u32>,
    price: Price,
}

/// A positive decimal number, written as a string so that no float touches money.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Price(Decimal);

impl TryFrom<String> for Price {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match Decimal::from_str_exact(&text) {
            Ok(value) if value > Decimal::ZERO && value < Decimal::from(MAX_USAGE) => Ok(Self(value)),
            _ => Err(format!("{text:?} is not a positive decimal number below {MAX_USAGE}")),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vat {
    class: Spanned<String>,
    percent: Spanned<Price>,
    begins: Spanned<Day>,
    ends: Option<Spanned<Day>>,
    source: Spanned<String>,
}

dated!(Tariff, |rule| vec![rule.class.clone()]);
dated!(Vat, |rule| vec![rule.class.get_ref().clone()]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TariffFile {
    tariff: Vec<Tariff>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VatFile {
    vat: Vec<Vat>,
}

/// The tariffs and taxes of a city.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tariffs {
    electricity: Vec<Tariff>,
    water: Vec<Tariff>,
    vat: Vec<Vat>,
}

/// What a reading costs, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cost {
    /// Use and cost by step, from the lowest.
    pub(crate) steps: Vec<Line>,
    /// The sum before VAT.
    pub(crate) before_vat: Dong,
    /// The tax in percent, as the rule writes it.
    pub(crate) vat_percent: String,
    /// The tax.
    pub(crate) vat: Dong,
    /// What is to be paid.
    pub(crate) total: Dong,
}

/// What was used in one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// How much.
    pub(crate) usage: u32,
    /// The price of one unit.
    pub(crate) unit_price: String,
    /// Their product, not rounded.
    pub(crate) cost: String,
}

impl Tariffs {
    /// Reads and checks the files.
    pub(crate) fn load(dir: &Path) -> Result<Self, Faults> {
        let (tariffs, faults) = read(dir);
        if faults.is_empty() { Ok(tariffs) } else { Err(Faults(faults)) }
    }

    /// What a household's use costs by the rules in force on a day; `None` when there are none, or the use is beyond any meter.
    pub(crate) fn price(&self, utility: Utility, usage: u32, date: NaiveDate) -> Option<Cost> {
        let tariffs = match utility {
            Utility::Electricity => &self.electricity,
            Utility::Water => &self.water,
        };
        let tariff = in_force(tariffs.iter().filter(|rule| rule.class == HOUSEHOLD), date)?;
        let vat = in_force(self.vat.iter().filter(|rule| rule.class.get_ref() == utility.name()), date)?;
        if usage > MAX_USAGE {
            return None;
        }
        let steps: Vec<_> = tariff.steps.iter().filter_map(|step| step.part(usage)).collect();
        let sum: Decimal = steps.iter().map(|(used, price)| Decimal::from(*used) * price).sum();
        let percent = vat.percent.get_ref().0;
        let before_vat = whole(sum);
        let tax = whole(before_vat * percent / Decimal::ONE_HUNDRED);
        Some(Cost {
            steps: steps.iter().map(|(used, price)| line(*used, *price)).collect(),
            before_vat: dong(before_vat)?,
            vat_percent: percent.normalize().to_string(),
            vat: dong(tax)?,
            total: dong(before_vat + tax)?,
        })
    }
}

impl Step {
    /// What of a month's use falls in this step, and its price; `None` when nothing does.
    fn part(&self, usage: u32) -> Option<(u32, Decimal)> {
        let reached = self.up_to.map_or(usage, |end| usage.min(end));
        let used = reached.checked_sub(*self.above.get_ref()).filter(|used| *used > 0)?;
        Some((used, self.price.0))
    }
}

fn line(usage: u32, price: Decimal) -> Line {
    let cost = Decimal::from(usage) * price;
    Line { usage, unit_price: price.normalize().to_string(), cost: cost.normalize().to_string() }
}

fn whole(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero)
}

fn dong(amount: Decimal) -> Option<Dong> {
    amount.to_i64().map(Dong::new)
}

/// The tariffs of a city's folder and every fault of their files.
pub(super) fn read(dir: &Path) -> (Tariffs, Vec<Fault>) {
    let rules = dir.join("rules");
    let tariff = |name: &str| dated::read(&rules.join(name), |file: &TariffFile| &file.tariff, tariff_faults);
    let (electricity, mut faults) = tariff("electricity.toml");
    let (water, more) = tariff("water.toml");
    faults.extend(more);
    let (vat, more) = dated::read(&rules.join("vat.toml"), |file: &VatFile| &file.vat, vat_faults);
    faults.extend(more);
    (Tariffs { electricity, water, vat }, faults)
}

fn vat_faults(document: &Document<VatFile>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for rule in &document.value.vat {
        if Utility::named(rule.class.get_ref()).is_none() {
            faults.push(document.fault(&rule.class, format_args!("class {:?} is unknown", rule.class.get_ref())));
        }
        if rule.percent.get_ref().0 >= Decimal::ONE_HUNDRED {
            faults.push(document.fault(&rule.percent, "the tax is 100 percent or more"));
        }
    }
    faults
}

fn tariff_faults(document: &Document<TariffFile>) -> Vec<Fault> {
    document.value.tariff.iter().flat_map(|tariff| step_faults(document, tariff)).collect()
}

fn step_faults(document: &Document<TariffFile>, tariff: &Tariff) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut reached = Some(0);
    for step in &tariff.steps {
        let above = *step.above.get_ref();
        match reached {
            Some(end) if end == above => {}
            Some(end) => {
                let message = format!("the step begins above {above}, the one before ends at {end}");
                faults.push(document.fault(&step.above, message));
            }
            None => faults.push(document.fault(&step.above, "the step before has no end")),
        }
        if step.up_to.is_some_and(|end| end <= above) {
            faults.push(document.fault(&step.above, "the step ends before it begins"));
        }
        reached = step.up_to;
    }
    if reached.is_some() {
        faults.push(document.fault(&tariff.begins, "the last step has an end, or there is no step"));
    }
    faults
}
