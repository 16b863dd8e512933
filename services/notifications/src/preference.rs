//! What a citizen chose: language, which channels of which lanes are switched off, quiet hours, the hour of the digest. Pure; SQL in `preference_sql`.

use std::collections::{BTreeMap, BTreeSet};

use platform::http::Language;

use crate::error::Error;
use crate::lane::{Channel, Lane};
use crate::quiet::{Minute, QuietHours};

/// One citizen's choices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// `None`: as identity knows it.
    pub(crate) language: Option<Language>,
    muted: BTreeSet<(Lane, Channel)>,
    /// When nothing makes noise that can wait.
    pub(crate) quiet: Option<QuietHours>,
    /// When news come together.
    pub(crate) digest_at: Option<Minute>,
    /// Grows with each change; 0 when nothing was ever chosen.
    pub(crate) version: i64,
}

/// Every lane's channels, on or off.
pub(crate) type Switches = BTreeMap<Lane, BTreeMap<Channel, bool>>;

impl Preferences {
    /// Choices as stored.
    pub(crate) fn stored(
        language: Option<Language>,
        muted: impl IntoIterator<Item = (Lane, Channel)>,
        version: i64,
    ) -> Self {
        let muted = muted.into_iter().filter(|(lane, _)| lane.may_be_muted()).collect();
        Self { language, muted, version, ..Self::default() }
    }

    /// The choices that `switches` mean.
    ///
    /// # Errors
    /// [`Error::LaneLocked`] when a lane is switched off that can't be.
    pub(crate) fn chosen(language: Option<Language>, switches: &Switches) -> Result<Self, Error> {
        let mut muted = BTreeSet::new();
        for (lane, channels) in switches {
            for (channel, on) in channels {
                match on {
                    true => {}
                    false if lane.may_be_muted() => {
                        muted.insert((*lane, *channel));
                    }
                    false => return Err(Error::LaneLocked(*lane)),
                }
            }
        }
        Ok(Self { language, muted, ..Self::default() })
    }

    /// The same with quiet hours and the hour of the digest.
    pub(crate) fn at_times(self, quiet: Option<QuietHours>, digest_at: Option<Minute>) -> Self {
        Self { quiet, digest_at, ..self }
    }

    /// Whether a message of that lane may go that way.
    pub(crate) fn allow(&self, lane: Lane, channel: Channel) -> bool {
        !lane.may_be_muted() || !self.muted.contains(&(lane, channel))
    }

    /// What is switched off.
    pub(crate) fn muted(&self) -> impl Iterator<Item = (Lane, Channel)> + '_ {
        self.muted.iter().copied()
    }

    /// Every lane's channels, on or off.
    pub(crate) fn switches(&self) -> Switches {
        let channels = |lane| Channel::ALL.into_iter().map(move |channel| (channel, self.allow(lane, channel)));
        Lane::ALL.into_iter().map(|lane| (lane, channels(lane).collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(lane: Lane, channel: Channel) -> Switches {
        BTreeMap::from([(lane, BTreeMap::from([(channel, false)]))])
    }

    #[test]
    fn everything_is_on_until_it_is_switched_off() {
        let nothing_chosen = Preferences::default();
        let chosen = Preferences::chosen(None, &off(Lane::News, Channel::Push)).expect("news may be muted");
        for lane in Lane::ALL {
            for channel in Channel::ALL {
                assert!(nothing_chosen.allow(lane, channel));
                assert_eq!(chosen.allow(lane, channel), (lane, channel) != (Lane::News, Channel::Push));
            }
        }
        assert_eq!(Preferences::chosen(None, &chosen.switches()).expect("read back"), chosen);
    }

    #[test]
    fn security_and_emergency_stay_on() {
        for lane in [Lane::Security, Lane::Emergency] {
            for channel in Channel::ALL {
                let refused = Preferences::chosen(None, &off(lane, channel));
                assert!(matches!(refused, Err(Error::LaneLocked(which)) if which == lane));
                assert!(Preferences::stored(None, [(lane, channel)], 1).allow(lane, channel));
            }
        }
    }
}
