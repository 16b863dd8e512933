//! The ways to connected banks and billers, made at start from configuration and the city's lists.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::TimeDelta;
use platform::service::Context;
use url::Url;

use crate::bill::HttpBiller;
use crate::bulkhead::Bulkhead;
use crate::config::PartnerConfig;
use crate::partner::Partner;
use crate::top_up::HttpBank;
use crate::{Bank, Biller, BuildError, Config, city, work};

/// Citizens who link a customer of one biller at the same time, at most; who comes then is asked to come again.
const MAX_LOOKS: usize = 32;

/// Every configured bank.
pub(crate) fn banks(
    config: &Config,
    context: &Context,
    directory: &city::Banks,
) -> Result<HashMap<String, Bank>, BuildError> {
    let mut banks = HashMap::new();
    for (code, settings) in &config.banks {
        if directory.by_code(code).is_none() {
            return Err(BuildError::Config(format!("wallet: `{code}` is no bank of the city's list")));
        }
        let partner = partner("bank", code, settings, config.bank_timeout_ms, context)?;
        let callback_url = callback_url(config, context, &format!("bank-callbacks/{code}"))?;
        let connector = Box::new(HttpBank { partner, callback_url });
        banks.insert(code.clone(), Bank { connector, callback_secret: settings.callback_secret.clone() });
    }
    Ok(banks)
}

/// Every configured biller.
pub(crate) fn billers(
    config: &Config,
    context: &Context,
    directory: &city::Billers,
) -> Result<BTreeMap<String, Biller>, BuildError> {
    let mut billers = BTreeMap::new();
    for (code, settings) in &config.billers {
        let Some(profile) = directory.get(code) else {
            return Err(BuildError::Config(format!("wallet: `{code}` is no biller of the city's list")));
        };
        let partner = partner("biller", code, settings, config.biller_timeout_ms, context)?;
        let callback_url = callback_url(config, context, &format!("biller-callbacks/{code}"))?;
        let connector = Box::new(HttpBiller { partner, code: code.clone(), callback_url });
        let (profile, callback_secret) = (profile.clone(), settings.callback_secret.clone());
        billers.insert(code.clone(), Biller { profile, connector, callback_secret });
    }
    Ok(billers)
}

/// Places of one kind of jobs at every configured biller.
pub(crate) fn job_places(config: &Config) -> Result<Bulkhead, BuildError> {
    if !(1..work::OUTSIDE_PLACES).contains(&config.biller_places) {
        let most = work::OUTSIDE_PLACES - 1;
        return Err(BuildError::Config(format!("wallet: biller_places is not 1 to {most}")));
    }
    Ok(bulkhead(config, config.biller_places))
}

/// Places of citizens at every configured biller.
pub(crate) fn look_places(config: &Config) -> Bulkhead {
    bulkhead(config, MAX_LOOKS)
}

fn bulkhead(config: &Config, places: usize) -> Bulkhead {
    let longest =
        i64::try_from(config.last_status_query_ms).ok().and_then(TimeDelta::try_milliseconds).unwrap_or(TimeDelta::MAX);
    Bulkhead::new(config.billers.keys(), places, longest)
}

fn partner(
    noun: &str,
    code: &str,
    settings: &PartnerConfig,
    timeout_ms: u64,
    context: &Context,
) -> Result<Partner, BuildError> {
    if settings.secret.expose().is_empty() || settings.callback_secret.expose().is_empty() {
        return Err(BuildError::Config(format!("wallet: {noun} `{code}` has an empty secret")));
    }
    Ok(Partner::try_new(settings, Duration::from_millis(timeout_ms), context.clock.clone())?)
}

fn callback_url(config: &Config, context: &Context, rest: &str) -> Result<Url, BuildError> {
    let origin = config.callback_base_url.as_ref().unwrap_or(&context.public_url);
    let joined = origin.join(&format!("/wallet/v1/{rest}"));
    joined.map_err(|_| BuildError::Config("wallet: callback_base_url is not an origin".to_owned()))
}
