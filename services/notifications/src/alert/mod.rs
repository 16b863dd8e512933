//! Warnings: what an alert says, to which wards, and in the words of CAP 1.2 (OASIS Common Alerting Protocol).
//!
//! | module | what it holds |
//! | --- | --- |
//! | this file | what an alert says, and the bounds of its texts. Pure |
//! | `term` | the fixed words of CAP. Pure |
//! | `area` | polygons and circles. Pure |
//! | `life` | who may release, replace and end an alert, and when. Pure |
//! | `cap` | the CAP document and the Atom feed. Pure |
//! | `intake` | CAP documents of others: read strictly, made drafts |
//! | `alarm` | drafts from alarms of rivers |
//! | `renew` | the next draft of an alarm that outlasts its warning |
//! | `family` | what follows what: the alert in force, the drafts that wait |
//! | `store`, `desk` | every statement; drafting, releasing, cancelling |
//! | `fan_out` | from a released alert to a message for everybody it concerns |
//! | `climb` | by text message to those whom nothing has reached in time |
//! | `reach`, `tell` | how many have it, by ward and channel; the city is told while it grows |

pub(crate) mod alarm;
pub(crate) mod area;
pub(crate) mod cap;
pub(crate) mod climb;
pub(crate) mod desk;
pub(crate) mod family;
pub(crate) mod fan_out;
pub(crate) mod intake;
pub(crate) mod life;
pub(crate) mod reach;
pub(crate) mod renew;
pub(crate) mod store;
pub(crate) mod tell;
pub(crate) mod term;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::area::Outline;
pub(crate) use self::life::{Kind, Life, Refusal, State};
pub(crate) use self::term::{Category, Certainty, Response, Severity, Status, Urgency};
use crate::city::City;
use crate::error::Error;

/// Characters of the name of the event at most.
pub(crate) const MAX_EVENT: usize = 60;
/// Characters of a headline at most, as CAP advises.
pub(crate) const MAX_HEADLINE: usize = 160;
/// Characters of a description at most.
pub(crate) const MAX_DESCRIPTION: usize = 2_000;
/// Characters of an instruction at most; it is what a text message carries beside the headline.
pub(crate) const MAX_INSTRUCTION: usize = 500;

platform::typed_id! {
    /// One alert: a message of CAP, in any state.
    pub(crate) struct AlertId;
}

/// Where a draft comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AlertOrigin)]
pub(crate) enum Origin {
    /// An officer wrote it.
    Officer,
    /// An alarm of a river.
    Alarm,
    /// A CAP document of somebody else.
    Cap,
}

impl Origin {
    const ALL: [Self; 3] = [Self::Officer, Self::Alarm, Self::Cap];

    /// The name in SQL and JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::Alarm => "alarm",
            Self::Cap => "cap",
        }
    }

    /// The origin with that name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.name() == name)
    }
}

/// A text in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bilingual {
    /// Vietnamese.
    pub(crate) vi: String,
    /// English.
    pub(crate) en: String,
}

impl Bilingual {
    /// Checks both texts: 1 to `max` characters, and only such as XML can carry.
    ///
    /// # Errors
    /// [`Error::InvalidField`].
    pub(crate) fn check(&self, field: &'static str, max: usize) -> Result<(), Error> {
        let good = |text: &String| {
            text.trim() == text && (1..=max).contains(&text.chars().count()) && text.chars().all(is_writable)
        };
        if good(&self.vi) && good(&self.en) { Ok(()) } else { Err(Error::InvalidField { field, min: 1, max }) }
    }
}

/// Whether XML 1.0 has the character (section 2.2); control characters other than a new line are not wanted either.
pub(crate) fn is_writable(character: char) -> bool {
    character == '\n' || !(character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}'))
}

/// What an alert says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    /// Whether it is meant, or an exercise.
    pub(crate) status: Status,
    /// What kind of event.
    pub(crate) category: Category,
    /// How great the threat.
    pub(crate) severity: Severity,
    /// How soon to act.
    pub(crate) urgency: Urgency,
    /// How sure it is.
    pub(crate) certainty: Certainty,
    /// What people should do.
    pub(crate) response: Response,
    /// The event, in a word or two.
    pub(crate) event: Bilingual,
    /// What is the matter, in one line.
    pub(crate) headline: Bilingual,
    /// What happened and what is to be expected.
    pub(crate) description: Bilingual,
    /// What to do.
    pub(crate) instruction: Bilingual,
    /// Codes of the wards it concerns, each once.
    pub(crate) wards: Vec<String>,
    /// Where in the wards, when it is known more closely.
    #[serde(default)]
    pub(crate) outline: Option<Outline>,
}

impl Content {
    /// Checks texts, wards and shapes.
    ///
    /// # Errors
    /// [`Error::InvalidField`], [`Error::WardUnknown`], [`Error::AreaInvalid`].
    pub(crate) fn check(&self, city: &City) -> Result<(), Error> {
        self.event.check("event", MAX_EVENT)?;
        self.headline.check("headline", MAX_HEADLINE)?;
        self.description.check("description", MAX_DESCRIPTION)?;
        self.instruction.check("instruction", MAX_INSTRUCTION)?;
        city.check_wards(&self.wards, city.wards.len())?;
        match &self.outline {
            Some(outline) => outline.check(),
            None => Ok(()),
        }
    }

    /// What it says once it is cancelled: the same event in the same wards, which is over for the reason given.
    pub(crate) fn cancelled(&self, reason: Bilingual) -> Self {
        let headline = |prefix: &str, text: &str| {
            let room = MAX_HEADLINE - prefix.chars().count();
            format!("{prefix}{}", text.chars().take(room).collect::<String>())
        };
        Self {
            urgency: Urgency::Past,
            response: Response::AllClear,
            headline: Bilingual {
                vi: headline("Đã kết thúc: ", &self.headline.vi),
                en: headline("Ended: ", &self.headline.en),
            },
            description: reason.clone(),
            instruction: reason,
            ..self.clone()
        }
    }

    /// Checks the reason of a cancellation.
    ///
    /// # Errors
    /// [`Error::InvalidField`].
    pub(crate) fn check_reason(reason: &Bilingual) -> Result<(), Error> {
        reason.check("reason", MAX_INSTRUCTION)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A flood warning to these wards.
    pub(crate) fn flood(wards: &[&str]) -> Content {
        let both = |vi: &str, en: &str| Bilingual { vi: vi.to_owned(), en: en.to_owned() };
        Content {
            status: Status::Actual,
            category: Category::Met,
            severity: Severity::Severe,
            urgency: Urgency::Immediate,
            certainty: Certainty::Observed,
            response: Response::Prepare,
            event: both("Lũ", "Flood"),
            headline: both("Lũ sông Hương trên báo động 3", "Perfume River above flood alarm 3"),
            description: both("Mực nước tại Kim Long 3,58 m và còn lên.", "3.58 m at Kim Long & rising."),
            instruction: both("Di chuyển lên nơi cao.", "Move to higher ground."),
            wards: wards.iter().map(|ward| (*ward).to_owned()).collect(),
            outline: None,
        }
    }

    #[test]
    fn texts_and_wards_are_checked() {
        let city = crate::city::tests::hue();
        let good = flood(&["19774", "19753"]);
        good.check(&city).expect("good");
        let refused = |change: fn(&mut Content)| {
            let mut content = good.clone();
            change(&mut content);
            content.check(&city).expect_err("refused")
        };
        assert!(matches!(refused(|it| it.wards.clear()), Error::WardCount { .. }));
        assert!(matches!(refused(|it| it.wards.push("19774".to_owned())), Error::WardTwice(ward) if ward == "19774"));
        assert!(matches!(refused(|it| it.wards.push("00000".to_owned())), Error::WardUnknown(ward) if ward == "00000"));
        assert!(matches!(refused(|it| it.event.en.clear()), Error::InvalidField { field: "event", .. }));
        assert!(matches!(
            refused(|it| it.headline.vi = "x".repeat(161)),
            Error::InvalidField { field: "headline", .. }
        ));
        assert!(matches!(refused(|it| it.instruction.vi = "a\u{8}".to_owned()), Error::InvalidField { .. }));
        assert!(matches!(refused(|it| it.description.en = "a\u{ffff}".to_owned()), Error::InvalidField { .. }));
    }

    #[test]
    fn a_cancellation_keeps_what_decides_whom_it_reaches() {
        let mut long = flood(&["19774"]);
        long.headline.vi = "ừ".repeat(MAX_HEADLINE);
        let reason = Bilingual { vi: "Nước đã rút.".to_owned(), en: "The water has gone.".to_owned() };
        let ended = long.cancelled(reason.clone());
        assert_eq!((ended.severity, ended.status, &ended.wards), (long.severity, long.status, &long.wards));
        assert_eq!((ended.urgency, ended.instruction.clone()), (Urgency::Past, reason));
        ended.check(&crate::city::tests::hue()).expect("within the bounds of an alert");
    }
}
