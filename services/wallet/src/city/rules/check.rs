//! What can be wrong with a rule file beside its periods. Pure.

use platform::dataset::{Document, Fault};

use super::{Amount, Limit, LimitClass, LimitsFile, Period, StepUpFile, TIERS, TiersFile};

pub(super) fn limit_faults(document: &Document<LimitsFile>) -> Vec<Fault> {
    let limits = &document.value.limit;
    let mut faults = Vec::new();
    for limit in limits {
        for tier in limit.tiers.get_ref().iter().filter(|tier| !TIERS.contains(tier)) {
            faults.push(document.fault(&limit.tiers, format_args!("tier {tier} is unknown")));
        }
        if limit.tiers.get_ref().is_empty() {
            faults.push(document.fault(&limit.tiers, "the limit names no tier"));
        }
    }
    for tier in TIERS {
        for period in [Period::Transaction, Period::Month] {
            let covers = |limit: &&Limit| {
                limit.class == LimitClass::General
                    && limit.period == period
                    && limit.ends.is_none()
                    && limit.tiers.get_ref().contains(&tier)
            };
            if limits.iter().find(covers).is_none() {
                let message = format!("no general limit without end for tier {tier} and period {period:?}");
                faults.push(Fault::new(document.file(), 0, message.to_lowercase()));
            }
        }
    }
    faults
}

pub(super) fn step_up_faults(document: &Document<StepUpFile>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for rule in &document.value.step_up {
        if rule.kinds.get_ref().is_empty() || rule.rungs.is_empty() {
            faults.push(document.fault(&rule.kinds, "the rule names no kind or has no rung"));
        }
        for rung in &rule.rungs {
            if rung.single_above.is_none() && rung.day_above.is_none() {
                faults.push(document.fault(&rung.proof, "the rung names no amount"));
            }
        }
        for pair in rule.rungs.windows(2) {
            let falls = |lower: Option<Amount>, upper: Option<Amount>| matches!((lower, upper), (Some(lower), Some(upper)) if upper.0 <= lower.0);
            if pair[1].proof.get_ref() <= pair[0].proof.get_ref()
                || falls(pair[0].single_above, pair[1].single_above)
                || falls(pair[0].day_above, pair[1].day_above)
            {
                faults.push(document.fault(&pair[1].proof, "the rungs do not rise in proof and amount"));
            }
        }
    }
    faults
}

pub(super) fn tier_faults(document: &Document<TiersFile>) -> Vec<Fault> {
    let tiers = &document.value.tier;
    let mut faults = Vec::new();
    for tier in tiers {
        if !TIERS.contains(tier.level.get_ref()) {
            faults.push(document.fault(&tier.level, format_args!("tier {} is unknown", tier.level.get_ref())));
        }
    }
    for level in TIERS.iter().filter(|level| tiers.iter().all(|tier| tier.level.get_ref() != *level)) {
        faults.push(Fault::new(document.file(), 0, format_args!("tier {level} is missing")));
    }
    faults
}
