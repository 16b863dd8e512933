//! The fixed words of CAP 1.2 (section 3.2). In JSON and SQL they are written in lower case, in documents as CAP writes them. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! terms {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident, $stored:literal, $cap:literal;)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        $(#[$meta])*
        pub(crate) enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every one.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As JSON, SQL, events and metrics write it.
            #[allow(dead_code, reason = "not every term stands outside of JSON")]
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $stored,)+ }
            }

            /// The term that CAP writes so.
            #[allow(dead_code, reason = "whether it is meant is told by more than one element")]
            pub(crate) fn of_cap(word: &str) -> Option<Self> {
                match word { $($cap => Some(Self::$variant),)+ _ => None }
            }

            /// As CAP writes it.
            pub(crate) const fn cap(self) -> &'static str {
                match self { $(Self::$variant => $cap,)+ }
            }
        }
    };
}

terms! {
    /// Whether an alert is meant.
    #[schema(as = AlertStatus)]
    Status {
        /// To be acted on.
        Actual, "actual", "Actual";
        /// An exercise; every text that a citizen gets says so.
        Exercise, "exercise", "Exercise";
    }
}

terms! {
    /// What kind of event it is about.
    Category {
        /// Landslides and earthquakes.
        Geo, "geo", "Geo";
        /// Weather and floods.
        Met, "met", "Met";
        /// General emergencies.
        Safety, "safety", "Safety";
        /// Law enforcement and security.
        Security, "security", "Security";
        /// Rescue.
        Rescue, "rescue", "Rescue";
        /// Fire.
        Fire, "fire", "Fire";
        /// Health.
        Health, "health", "Health";
        /// Pollution.
        Env, "env", "Env";
        /// Transport.
        Transport, "transport", "Transport";
        /// Water, power, telecommunication.
        Infra, "infra", "Infra";
        /// Chemical, biological, radiological, nuclear, explosive.
        Cbrne, "cbrne", "CBRNE";
        /// Anything else.
        Other, "other", "Other";
    }
}

terms! {
    /// How great the threat to life and property is.
    Severity {
        /// Extraordinary; whoever has no device gets a text message.
        Extreme, "extreme", "Extreme";
        /// Significant.
        Severe, "severe", "Severe";
        /// Possible.
        Moderate, "moderate", "Moderate";
        /// Minimal.
        Minor, "minor", "Minor";
        /// Not known.
        Unknown, "unknown", "Unknown";
    }
}

terms! {
    /// How soon people should act.
    Urgency {
        /// At once.
        Immediate, "immediate", "Immediate";
        /// Within the hour.
        Expected, "expected", "Expected";
        /// In the near future.
        Future, "future", "Future";
        /// It is over.
        Past, "past", "Past";
        /// Not known.
        Unknown, "unknown", "Unknown";
    }
}

terms! {
    /// How sure it is.
    Certainty {
        /// It happened or goes on.
        Observed, "observed", "Observed";
        /// More likely than not.
        Likely, "likely", "Likely";
        /// Possible.
        Possible, "possible", "Possible";
        /// Not expected.
        Unlikely, "unlikely", "Unlikely";
        /// Not known.
        Unknown, "unknown", "Unknown";
    }
}

terms! {
    /// What people should do.
    Response {
        /// Stay indoors.
        Shelter, "shelter", "Shelter";
        /// Leave.
        Evacuate, "evacuate", "Evacuate";
        /// Make ready.
        Prepare, "prepare", "Prepare";
        /// Act as the instruction says.
        Execute, "execute", "Execute";
        /// Keep away.
        Avoid, "avoid", "Avoid";
        /// Watch for news.
        Monitor, "monitor", "Monitor";
        /// The danger is over.
        AllClear, "all-clear", "AllClear";
        /// Nothing.
        None, "none", "None";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_stored_names_agree_and_differ_from_cap_in_case_only() {
        macro_rules! check {
            ($($name:ident)+) => {$(
                for term in $name::ALL {
                    assert_eq!(serde_json::to_value(term).expect("serialises"), term.name());
                    assert_eq!(term.cap().to_lowercase(), term.name().replace('-', ""));
                }
            )+};
        }
        check!(Status Category Severity Urgency Certainty Response);
    }
}
