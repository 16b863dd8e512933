//! Lanes and channels: what a message is about, and which way it goes. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a message is about. Each lane has workers of its own, so that a flood of one never delays a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = MessageLane)]
pub enum Lane {
    /// Warnings about danger.
    Emergency,
    /// One-time codes, new devices.
    Security,
    /// Money that moved.
    Payment,
    /// Reports, procedures, appointments.
    Service,
    /// News of the city.
    News,
}

impl Lane {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Emergency, Self::Security, Self::Payment, Self::Service, Self::News];

    /// The lane's name in SQL, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Security => "security",
            Self::Payment => "payment",
            Self::Service => "service",
            Self::News => "news",
        }
    }

    /// The kind of job that sends this lane's messages.
    pub const fn job_kind(self) -> &'static str {
        match self {
            Self::Emergency => "send-emergency",
            Self::Security => "send-security",
            Self::Payment => "send-payment",
            Self::Service => "send-service",
            Self::News => "send-news",
        }
    }

    /// The lane with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.name() == name)
    }

    /// Whether a phone is woken for a push message of this lane at once.
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Emergency | Self::Security | Self::Payment)
    }

    /// Whether a citizen may switch channels of this lane off.
    pub const fn may_be_muted(self) -> bool {
        !matches!(self, Self::Emergency | Self::Security)
    }
}

/// The way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The inbox of the app, and its stream.
    InApp,
    /// A push message to each of the citizen's devices.
    Push,
    /// A text message.
    Sms,
}

impl Channel {
    /// Every channel.
    pub const ALL: [Self; 3] = [Self::InApp, Self::Push, Self::Sms];

    /// The channel's name in SQL, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InApp => "in-app",
            Self::Push => "push",
            Self::Sms => "sms",
        }
    }

    /// The channel with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_agree_with_json() {
        for lane in Lane::ALL {
            assert_eq!(Lane::from_name(lane.name()), Some(lane));
            assert_eq!(serde_json::to_value(lane).expect("serialises"), lane.name());
            assert_eq!(lane.job_kind(), format!("send-{}", lane.name()));
        }
        for channel in Channel::ALL {
            assert_eq!(Channel::from_name(channel.name()), Some(channel));
            assert_eq!(serde_json::to_value(channel).expect("serialises"), channel.name());
        }
    }
}
