//! Messages about the citizen's account, in lane `security`: nobody can mute them, and they climb. Pure.

use platform::events::{Event, HandleError};
use proto::identity::v1::{
    CitizenRegistered, DeviceAdded, ExportReady, PinChanged, SessionStarted, TierChanged, VneidLinked,
};
use serde_json::json;
use uuid::Uuid;

use super::{id, in_app_and_push};
use crate::lane::Lane;
use crate::message::Draft;
use crate::template;

/// Security: whoever asked in the citizen's name is noticed, whatever the citizen muted.
pub(super) fn export_ready(event: &Event, ready: &ExportReady) -> Result<Vec<Draft>, HandleError> {
    let days = (ready.expires_at - event.time.timestamp()).max(0) / 86_400;
    let parameters = json!({ "export_id": ready.export_id, "expires_at": ready.expires_at, "days": days });
    Ok(in_app_and_push(event, Lane::Security, id(&ready.user_id)?, template::EXPORT_READY, &parameters))
}

/// Security: somebody else's number, proved in the citizen's name, is noticed.
pub(super) fn tier_changed(event: &Event, changed: &TierChanged) -> Result<Vec<Draft>, HandleError> {
    let parameters = json!({ "tier": changed.tier });
    Ok(in_app_and_push(event, Lane::Security, id(&changed.user_id)?, template::TIER_CHANGED, &parameters))
}

/// Security: whoever set another PIN in the citizen's name is noticed.
pub(super) fn pin_changed(event: &Event, changed: &PinChanged) -> Result<Vec<Draft>, HandleError> {
    let cooling_s = (changed.cooling_until - event.time.timestamp()).max(0);
    let parameters = json!({ "way": changed.way, "hours": (cooling_s + 3_599) / 3_600 });
    Ok(in_app_and_push(event, Lane::Security, id(&changed.user_id)?, template::PIN_CHANGED, &parameters))
}

/// Security: whoever signs in with the citizen's number is noticed. An account begins on a device of its own, of which there is nothing to say.
pub(super) fn device_added(event: &Event, added: &DeviceAdded) -> Result<Vec<Draft>, HandleError> {
    let user = id(&added.user_id)?;
    if added.first {
        return Ok(Vec::new());
    }
    let parameters = json!({ "device_id": added.device_id });
    Ok(in_app_and_push(event, Lane::Security, user, template::DEVICE_ADDED, &parameters))
}

/// Security: whoever linked the citizen's account to VNeID, and signs in by it from then on, is noticed, also when no tier changes.
pub(super) fn vneid_linked(event: &Event, linked: &VneidLinked) -> Result<Vec<Draft>, HandleError> {
    Ok(in_app_and_push(event, Lane::Security, id(&linked.user_id)?, template::VNEID_LINKED, &json!({})))
}

/// The citizen who is there, by an event that tells it.
pub(super) fn seen(event: &Event) -> Result<Option<Uuid>, HandleError> {
    if let Some(registered) = event.decode::<CitizenRegistered>() {
        id(&registered?.user_id).map(Some)
    } else if let Some(started) = event.decode::<SessionStarted>() {
        id(&started?.user_id).map(Some)
    } else {
        Ok(None)
    }
}
