//! Texts in Vietnamese and English, made from templates and parameters. Pure.
//!
//! The sources lie in `templates/{vi,en}/NAME.VERSION.PART.txt` and are compiled in.
//! A message stores its template's name with the version, so that its text stays what it was when a newer version comes:
//! a version that was ever released is never changed or removed.
//! Invariant: an undefined parameter is an error, never an empty place in a text.

mod source;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use minijinja::{Environment, UndefinedBehavior};
use platform::http::Language;
use serde::Serialize;
use serde_json::Value;

use self::source::SOURCES;
use crate::dependent;

/// Which text: its name and version, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Template(&'static str);

/// A one-time code. Parameters: `code`, `purpose`, `minutes`; by SMS.
pub(crate) const OTP: Template = Template("otp.v1");
/// To the payer. Parameters: `payment_id`, `amount`, `balance`, `merchant`.
pub(crate) const PAYMENT_SENT: Template = Template("payment-sent.v1");
/// To the merchant's owner. Parameters: `payment_id`, `amount`, `merchant`, `merchant_id`, `till_id`.
pub(crate) const PAYMENT_RECEIVED: Template = Template("payment-received.v1");
/// To the payer. Parameters: `refund_id`, `payment_id`, `amount`, `balance`, `merchant`.
pub(crate) const PAYMENT_REFUNDED: Template = Template("payment-refunded.v1");
/// Parameters: `top_up_id`, `transfer_id`, `amount`, `balance`, `bank`.
pub(crate) const TOP_UP_COMPLETED: Template = Template("top-up-completed.v1");
/// Parameters: `bill_payment_id`, `bill_id`, `transfer_id`, `kind`, `period`, `amount`, `balance`.
pub(crate) const BILL_PAID: Template = Template("bill-paid.v1");
/// Parameters: `bill_id`, `agency`, `procedure`, `amount`, `due_on`.
pub(crate) const FEE_NOTICE: Template = Template("fee-notice.v1");
/// Parameters: `bill_payment_id`, `bill_id`, `kind`, `period`, `amount`, `reason`.
pub(crate) const BILL_PAYMENT_FAILED: Template = Template("bill-payment-failed.v1");
/// A biller asks for it for the first time. Parameters: `bill_id`, `kind`, `period`, `amount`, `due_on`.
pub(crate) const BILL_FOUND: Template = Template("bill-found.v1");
/// Nobody has paid it, and it falls due. Parameters as [`BILL_FOUND`].
pub(crate) const BILL_DUE: Template = Template("bill-due.v1");
/// Its biller says nothing definite. Parameters: `bill_payment_id`, `bill_id`, `kind`, `period`, `amount`.
pub(crate) const BILL_PAYMENT_UNCLEAR: Template = Template("bill-payment-unclear.v1");
/// The bank says nothing definite. Parameters: `top_up_id`, `amount`, `bank`.
pub(crate) const TOP_UP_UNCLEAR: Template = Template("top-up-unclear.v1");
/// Parameters: `top_up_id`, `amount`, `reason`.
pub(crate) const TOP_UP_FAILED: Template = Template("top-up-failed.v1");
/// To the reporter: it came in. Parameters: `report_id`, `category`.
pub(crate) const REPORT_RECEIVED: Template = Template("report-received.v1");
/// To the reporter: an officer asks. Parameters: `report_id`, `category`.
pub(crate) const REPORT_ASKED: Template = Template("report-asked.v1");
/// To the reporter: an agency has it. Parameters: `report_id`, `category`.
pub(crate) const REPORT_DISTRIBUTED: Template = Template("report-distributed.v1");
/// To the reporter: it is not taken up. Parameters: `report_id`, `category`.
pub(crate) const REPORT_REJECTED: Template = Template("report-rejected.v1");
/// To the reporter: another one tells the same. Parameters: `report_id`, `category`.
pub(crate) const REPORT_MERGED: Template = Template("report-merged.v1");
/// To the reporter: there is a result. Parameters: `report_id`, `category`.
pub(crate) const REPORT_PUBLISHED: Template = Template("report-published.v1");
/// To the reporter: the question had no answer in time. Parameters: `report_id`, `category`.
pub(crate) const REPORT_LAPSED: Template = Template("report-lapsed.v1");
/// To the reporter: the agency works on it. Parameters: `report_id`, `category`.
pub(crate) const REPORT_ACCEPTED: Template = Template("report-accepted.v1");
/// To the reporter: the agency gave it back. Parameters: `report_id`, `category`.
pub(crate) const REPORT_RETURNED: Template = Template("report-returned.v1");
/// To the reporter: there is more time for it. Parameters: `report_id`, `category`.
pub(crate) const REPORT_EXTENDED: Template = Template("report-extended.v1");
/// To the reporter: it is looked at again. Parameters: `report_id`, `category`.
pub(crate) const REPORT_REOPENED: Template = Template("report-reopened.v1");
/// To the reporter: the rating came in, and ends it. Parameters: `report_id`, `category`.
pub(crate) const REPORT_RATED: Template = Template("report-rated.v1");
/// To the reporter: it ended without a rating. Parameters: `report_id`, `category`.
pub(crate) const REPORT_CLOSED: Template = Template("report-closed.v1");
/// To officers: most of a report's time limit is spent. Parameters: `report_id`, `level`, `state`, `category`; `ward` and `agency` or null.
pub(crate) const REPORT_LIMIT_NEAR: Template = Template("report-limit-near.v1");
/// To officers: a report's time limit is missed. Parameters as [`REPORT_LIMIT_NEAR`].
pub(crate) const REPORT_LIMIT_MISSED: Template = Template("report-limit-missed.v1");
/// To whoever leads: a report's time limit is far exceeded. Parameters as [`REPORT_LIMIT_NEAR`].
pub(crate) const REPORT_LIMIT_EXCEEDED: Template = Template("report-limit-exceeded.v1");
/// A PIN was set. Parameters: `way` (`first`, `changed`, `reset`), `hours` until it proves something.
pub(crate) const PIN_CHANGED: Template = Template("pin-changed.v1");
/// Somebody signed in on a device that is new to the citizen. Parameters: `device_id`.
pub(crate) const DEVICE_ADDED: Template = Template("device-added.v1");
/// The account was linked to VNeID. No parameters.
pub(crate) const VNEID_LINKED: Template = Template("vneid-linked.v1");
/// A copy of everything is complete. Parameters: `export_id`, `expires_at`, `days`.
pub(crate) const EXPORT_READY: Template = Template("export-ready.v1");
/// The citizen has proved who they are. Parameters: `tier`.
pub(crate) const TIER_CHANGED: Template = Template("tier-changed.v1");
/// News of the city, as its officer wrote it. Parameters: `news_id`, and `title` and `text` in both languages.
pub(crate) const NEWS: Template = Template("news.v1");
/// Somebody asked in the citizen's name to close the account. No parameters.
pub(crate) const CLOSING_ASKED: Template = Template("closing-asked.v1");
/// All services let the citizen go. Parameters: `hours`.
pub(crate) const CLOSING_AGREED: Template = Template("closing-agreed.v1");
/// One did not. Parameters: `hindrances`.
pub(crate) const CLOSING_REFUSED: Template = Template("closing-refused.v1");
/// The citizen stays. No parameters.
pub(crate) const CLOSING_TAKEN_BACK: Template = Template("closing-taken-back.v1");
/// Soon nobody can be told anything. Parameters: `minutes`.
pub(crate) const CLOSING_LAST: Template = Template("closing-last.v1");
/// To both. Parameters: `delegation_id`, `side`.
pub(crate) const DELEGATION_BEGAN: Template = Template("delegation-began.v1");
/// To both, or to whoever stays. Parameters: `delegation_id`, `side`, `left`.
pub(crate) const DELEGATION_ENDED: Template = Template("delegation-ended.v1");
/// To both: the date of a delegation has come. Parameters: `delegation_id`, `side`.
pub(crate) const DELEGATION_EXPIRED: Template = Template("delegation-expired.v1");
/// To who is asked to be a guardian. Parameters: `registration_id`.
pub(crate) const DEPENDENT_REGISTERED: Template = Template("dependent-registered.v1");
/// To guardian and owner of an account that has a number now. Parameters: `side`.
pub(crate) const PHONE_ATTACHED: Template = Template("phone-attached.v1");
/// To both: a guardian paid. Parameters: `side`, `what`, `amount`; `merchant`, or `kind` and `period`; `balance` to the dependent.
pub(crate) const PAYMENT_ACTED: Template = Template("payment-acted.v1");
/// News that came together. Parameters: `count`.
pub(crate) const DIGEST: Template = Template("digest.v1");
/// A warning. Parameters: `alert_id`, `identifier`, `exercise`, `severity`, `headline` and `text` in both languages.
pub(crate) const ALERT_RELEASED: Template = Template("alert-released.v1");
/// A warning that replaces an earlier one. Parameters as [`ALERT_RELEASED`].
pub(crate) const ALERT_UPDATED: Template = Template("alert-updated.v1");
/// The end of a warning. Parameters as [`ALERT_RELEASED`].
pub(crate) const ALERT_CANCELLED: Template = Template("alert-cancelled.v1");

/// The parts of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Title,
    Body,
    Sms,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Body => "body",
            Self::Sms => "sms",
        }
    }

    /// What stands before a text about the account of somebody in the reader's care.
    const fn about_another(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Title, _) => "",
            (Self::Body, Language::Vi) => "Về tài khoản của người bạn giám hộ: ",
            (Self::Body, Language::En) => "About the account of whoever you are the guardian of: ",
            (Self::Sms, Language::Vi) => "(Nguoi ban giam ho) ",
            (Self::Sms, Language::En) => "(Your dependent) ",
        }
    }
}

/// Why a text can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    /// A stored name is none of ours.
    #[error("no template is called {0}")]
    Unknown(String),
    /// The parameters do not fill the template.
    #[error("template {template} can't be filled")]
    Render {
        /// Which.
        template: &'static str,
        /// Why.
        source: minijinja::Error,
    },
}

/// A title and a body, for the inbox and for push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) title: String,
    pub(crate) body: String,
}

impl Template {
    /// The template with a stored name.
    pub(crate) fn find(name: &str) -> Result<Self, TemplateError> {
        let source = SOURCES.iter().find(|source| source.name == name);
        source.map(|source| Self(source.name)).ok_or_else(|| TemplateError::Unknown(name.to_owned()))
    }

    /// The name with its version, as stored.
    pub(crate) fn name(self) -> &'static str {
        self.0
    }

    /// The name without the version, as apps see it.
    pub(crate) fn kind(self) -> &'static str {
        self.0.rsplit_once('.').map_or(self.0, |(kind, _)| kind)
    }

    /// Title and body.
    pub(crate) fn text(self, language: Language, parameters: &Value) -> Result<Text, TemplateError> {
        Ok(Text {
            title: self.render(Part::Title, language, parameters)?,
            body: self.render(Part::Body, language, parameters)?,
        })
    }

    /// The text of an SMS.
    pub(crate) fn sms(self, language: Language, parameters: &impl Serialize) -> Result<String, TemplateError> {
        self.render(Part::Sms, language, parameters)
    }

    fn render(self, part: Part, language: Language, parameters: &impl Serialize) -> Result<String, TemplateError> {
        let render =
            || environment().get_template(&key(language, self.0, part))?.render(minijinja::value::Serde(parameters));
        let text = render().map_err(|source| TemplateError::Render { template: self.0, source })?;
        Ok(if dependent::is_redirected(parameters) { format!("{}{text}", part.about_another(language)) } else { text })
    }
}

fn key(language: Language, name: &str, part: Part) -> String {
    format!("{}/{name}.{}", language.tag(), part.name())
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_filter("money", money);
        environment.add_filter("plain", |text: &str| crate::sms::plain(text));
        for source in SOURCES {
            for (language, text) in [(Language::Vi, source.vi), (Language::En, source.en)] {
                environment
                    .add_template_owned(key(language, source.name, source.part), text)
                    .expect("a test compiles every template");
            }
        }
        environment
    })
}

/// Writes `{"amount":"150000","currency":"VND"}` as `150.000 ₫`.
fn money(value: &minijinja::Value) -> Result<String, minijinja::Error> {
    let wrong = || minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "not an amount of money");
    let (amount, currency) = (value.get_attr("amount")?, value.get_attr("currency")?);
    let (amount, currency) = (amount.as_str().ok_or_else(wrong)?, currency.as_str().ok_or_else(wrong)?);
    let amount = group(amount).ok_or_else(wrong)?;
    Ok(match currency {
        "VND" => format!("{amount} ₫"),
        other => format!("{amount} {other}"),
    })
}

/// Puts a dot between every three digits of a whole number.
fn group(amount: &str) -> Option<String> {
    let (sign, digits) = amount.strip_prefix('-').map_or(("", amount), |digits| ("-", digits));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut grouped = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('.');
        }
        grouped.push(digit);
    }
    Some(grouped)
}
